// Loaded between a program and the C library (LD_PRELOAD). For the files of one spool, it makes calls fail as
// on a faulty disk, and records what is written and synced, in order.
//
// FAULTS_FILES   the common beginning of the files' paths: the spool's path; "-wal" and so on follow
// FAULTS_PLAN    a file that says what fails: "CALL SUFFIX ERRNO COUNT". SUFFIX is the end of the file's
//                path, "." for none. ERRNO -1 means that half of the bytes are written, and -2 that the
//                call never returns. The file may appear, change and disappear while the program runs
// FAULTS_FAILED  a file that receives a line for each call that was made to fail
// FAULTS_RECORD  a file that receives a record of each call that changes the disk, and of each answer 200
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

// The kernel's own calls, which nothing intercepts.
static int raw_open(const char *path, int flags) {
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0600);
}
static long raw_write(int fd, const void *bytes, size_t length) {
    return syscall(SYS_write, fd, bytes, length);
}
static long raw_pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    return syscall(SYS_pwrite64, fd, bytes, length, offset);
}

// Returns what follows the spool's path in `path`; "dir" for its directory, NULL for anything else.
static const char *suffix_of_path(const char *path) {
    const char *files = getenv("FAULTS_FILES");
    if (!files) return NULL;
    size_t length = strlen(files);
    if (strncmp(path, files, length) == 0) return path + length;
    const char *slash = strrchr(files, '/');
    size_t directory = slash ? (size_t)(slash - files) : 0;
    return directory && strlen(path) == directory && strncmp(path, files, directory) == 0 ? "dir" : NULL;
}

static const char *suffix_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0) return NULL;
    path[length] = 0;
    return suffix_of_path(path);
}

// Returns the planned error of this call, or 0.
static int fault(const char *call, const char *suffix) {
    static char current[200];
    static int left;
    const char *plan = getenv("FAULTS_PLAN"), *failed = getenv("FAULTS_FAILED");
    if (!plan) return 0;
    char text[200] = {0}, planned_call[50], planned_suffix[50];
    int planned_error, count, fd = raw_open(plan, O_RDONLY);
    if (fd < 0) return 0;
    if (syscall(SYS_read, fd, text, sizeof text - 1) < 0) text[0] = 0;
    close(fd);
    if (sscanf(text, "%49s %49s %d %d", planned_call, planned_suffix, &planned_error, &count) != 4) return 0;
    if (strcmp(text, current) != 0) {
        strcpy(current, text);
        left = count;
    }
    if (strcmp(planned_suffix, ".") == 0) planned_suffix[0] = 0;
    if (left <= 0 || strcmp(planned_call, call) != 0 || strcmp(planned_suffix, suffix) != 0) return 0;
    left--;
    if (failed && (fd = raw_open(failed, O_WRONLY | O_CREAT | O_APPEND)) >= 0) {
        raw_write(fd, text, strlen(text));
        close(fd);
    }
    if (planned_error == -2) {
        // Only this thread waits: others answer requests.
        pthread_mutex_unlock(&lock);
        for (;;) pause();
    }
    return planned_error;
}

struct record {
    char kind;    // W write, T truncate, S sync, C create, U unlink, A answer
    char file[7]; // the suffix
    uint64_t offset, length;
};

static void record(char kind, const char *suffix, uint64_t offset, const void *bytes, uint64_t length) {
    static int fd = -1;
    const char *path = getenv("FAULTS_RECORD");
    if (!path) return;
    if (fd < 0) fd = raw_open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC);
    struct record head = {kind, {0}, offset, length};
    strncpy(head.file, suffix, sizeof head.file - 1);
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)bytes, length}};
    if (syscall(SYS_writev, fd, parts, bytes ? 2 : 1) < 0) abort();
}

static ssize_t written(int fd, const void *bytes, size_t length, off_t offset, int is_positioned) {
    char path[PATH_MAX];
    const char *suffix = suffix_of(fd, path);
    if (!suffix) {
        if (length >= 12 && memcmp(bytes, "HTTP/1.1 200", 12) == 0) record('A', "", 0, NULL, 0);
        return is_positioned ? raw_pwrite(fd, bytes, length, offset) : raw_write(fd, bytes, length);
    }
    pthread_mutex_lock(&lock);
    if (!is_positioned) offset = lseek(fd, 0, SEEK_CUR);
    int error = fault("write", suffix);
    ssize_t result = -1;
    if (error > 0) {
        errno = error;
    } else {
        if (error < 0 && length > 1) length /= 2;
        result = is_positioned ? raw_pwrite(fd, bytes, length, offset) : raw_write(fd, bytes, length);
        if (result > 0) record('W', suffix, (uint64_t)offset, bytes, (uint64_t)result);
    }
    error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

ssize_t write(int fd, const void *bytes, size_t length) { return written(fd, bytes, length, 0, 0); }
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    return written(fd, bytes, length, offset, 1);
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    return written(fd, bytes, length, offset, 1);
}

static void answered(const struct iovec *parts, int count) {
    if (count > 0 && parts[0].iov_len >= 12 && memcmp(parts[0].iov_base, "HTTP/1.1 200", 12) == 0) {
        pthread_mutex_lock(&lock);
        record('A', "", 0, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    answered(parts, count);
    return syscall(SYS_writev, fd, parts, count);
}

ssize_t send(int fd, const void *bytes, size_t length, int flags) {
    struct iovec part = {(void *)bytes, length};
    answered(&part, 1);
    return syscall(SYS_sendto, fd, bytes, length, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    answered(message->msg_iov, (int)message->msg_iovlen);
    return syscall(SYS_sendmsg, fd, message, flags);
}

static int synced(int fd, long number) {
    char path[PATH_MAX];
    const char *suffix = suffix_of(fd, path);
    if (!suffix) return (int)syscall(number, fd);
    pthread_mutex_lock(&lock);
    int error = fault("sync", suffix), result = -1;
    if (error > 0) {
        errno = error;
    } else if ((result = (int)syscall(number, fd)) == 0) {
        record('S', suffix, 0, NULL, 0);
    }
    error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

static int truncated(int fd, off64_t length) {
    char path[PATH_MAX];
    const char *suffix = suffix_of(fd, path);
    if (!suffix) return (int)syscall(SYS_ftruncate, fd, length);
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_ftruncate, fd, length), error = errno;
    if (result == 0) record('T', suffix, (uint64_t)length, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

int ftruncate(int fd, off_t length) { return truncated(fd, length); }
int ftruncate64(int fd, off64_t length) { return truncated(fd, length); }

static ssize_t was_read(int fd, void *bytes, size_t length, off64_t offset) {
    char path[PATH_MAX];
    const char *suffix = suffix_of(fd, path);
    pthread_mutex_lock(&lock);
    int error = suffix ? fault("read", suffix) : 0;
    pthread_mutex_unlock(&lock);
    if (error > 0) {
        errno = error;
        return -1;
    }
    return syscall(SYS_pread64, fd, bytes, length, offset);
}

ssize_t pread(int fd, void *bytes, size_t length, off_t offset) {
    return was_read(fd, bytes, length, offset);
}
ssize_t pread64(int fd, void *bytes, size_t length, off64_t offset) {
    return was_read(fd, bytes, length, offset);
}

static int opened(const char *path, int flags, int mode) {
    const char *suffix = suffix_of_path(path);
    if (!suffix) return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    pthread_mutex_lock(&lock);
    int error = fault("open", suffix), fd = -1;
    if (error > 0) {
        errno = error;
    } else {
        int is_new = (flags & O_CREAT) && access(path, F_OK) != 0;
        fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
        error = errno;
        if (fd >= 0 && is_new) record('C', suffix, 0, NULL, 0);
        errno = error;
    }
    error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        int mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, int) : 0; \
        va_end(rest); \
        return opened(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

int unlink(const char *path) {
    const char *suffix = suffix_of_path(path);
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0), error = errno;
    if (suffix && result == 0) record('U', suffix, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}
