//! What must be true of every view of the page.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Browser, ChromiumCommand, DARK, NARROW, View, WIDE};
use crate::program::repository;

/// Lists the innermost elements that stick out of the page's margins, or whose content sticks out of them.
/// What scrolls or is cut within its own box is not looked into.
const FIND_TOO_WIDE: &str = "
    const found = [];
    const root = document.documentElement;
    if (root.scrollWidth > root.clientWidth) found.push(`the page: ${root.scrollWidth} px`);
    const enter = (element, edge) => {
        const style = getComputedStyle(element);
        if (element.matches('.vh, svg') || style.display === 'none' || style.overflowX !== 'visible') return;
        const before = found.length;
        for (const child of element.children) if (!child.matches('[popover]')) enter(child, edge);
        const isWide = element.getBoundingClientRect().right > edge + 0.5;
        // An inline element has no width of its own.
        const isOverfull = element.clientWidth > 0 && element.scrollWidth > element.clientWidth;
        if (found.length === before && (isWide || isOverfull)) found.push(element.outerHTML.slice(0, 200));
    };
    for (const box of document.querySelectorAll('.wrap, [popover]:popover-open')) {
        const edge = box.getBoundingClientRect().right - parseFloat(getComputedStyle(box).paddingRight);
        for (const child of box.children) enter(child, edge);
    }
    return found;";

/// Lists what axe-core finds; the first argument is how it runs.
const FIND_BARRIERS: &str = "
    const done = arguments[arguments.length - 1];
    axe.run(arguments[0]).then(result => done({
        passed: result.passes.length,
        violations: result.violations.map(v => `${v.id}: ${v.help}: ` + v.nodes.map(n => n.target.join(' '))),
    }));";

const FIND_STRANGERS: &str = "return performance.getEntriesByType('resource').map(e => e.name)\
                              .filter(name => !name.startsWith(location.origin + '/'))";

impl Browser {
    /// Checks a view of the page that is shown: it is accessible, fits its width, and has loaded nothing from
    /// another address. Draws it into `target/page/`.
    pub fn check(&self, name: &str, view: View) {
        self.check_content(name, view);
        self.assert_quiet();
    }

    /// Checks a page in all views.
    pub fn check_all(&self, name: &str) {
        for view in [WIDE, NARROW, DARK] {
            self.check(name, view);
        }
    }

    /// As [`check`](Self::check), for a page whose tap has gone: its requests may fail.
    pub fn check_content(&self, name: &str, view: View) {
        self.look(view);
        self.draw(&folder().join(format!("{name}-{}.png", view.name)), None);
        assert_eq!(self.too_wide(), [""; 0], "{name}, {view:?}: this is too wide");
        // axe-core needs scripts that wait.
        if self.runs_scripts {
            assert_eq!(self.barriers(view), [""; 0], "{name}, {view:?}: axe-core finds this");
        }
        self.look(WIDE);
    }

    /// Draws the page into a file: all of it, or as much as fits into `height` at the width of a wide window.
    pub fn draw(&self, file: &Path, height: Option<u32>) {
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        let mut options = json!({ "format": "png", "captureBeyondViewport": true });
        if let Some(height) = height {
            options["clip"] = json!({ "x": 0, "y": 0, "width": WIDE.width, "height": height, "scale": 1 });
        } else {
            // For a larger file, which nobody keeps.
            options["optimizeForSpeed"] = json!(true);
        }
        let picture = self.devtools("Page.captureScreenshot", &options);
        let picture = picture["data"].as_str().expect("a picture");
        fs::write(file, decode_base64(picture)).expect("a file");
    }

    /// The elements that make the page scroll sideways, or stick out of their panel or the page's margins.
    #[must_use]
    pub fn too_wide(&self) -> Vec<String> {
        texts(&self.run(FIND_TOO_WIDE))
    }

    /// What hinders users, as axe-core sees it: each violated rule with the elements. A dark view differs
    /// from a light one only in its colours.
    #[must_use]
    pub fn barriers(&self, view: View) -> Vec<String> {
        // A page keeps what a script has defined.
        if self.run("return typeof axe") == "undefined" {
            let _ = self.run(&self.axe);
        }
        let mut options = json!({ "resultTypes": ["violations"] });
        if view.is_dark {
            options["runOnly"] = json!(["color-contrast"]);
        }
        let found = self.wait_for(self.client.execute_async(FIND_BARRIERS, vec![options]));
        assert_ne!(found["passed"], 0, "axe-core has checked nothing: {found}");
        texts(&found["violations"])
    }

    /// What the browser's log says since the last call about content that was refused, missing or has thrown.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let log = self.issue(ChromiumCommand { path: "se/log", body: json!({ "type": "browser" }) });
        let severe = log.as_array().expect("lines").iter().filter(|line| line["level"] == "SEVERE");
        let severe = texts(&severe.map(|line| line["message"].clone()).collect());
        severe.into_iter().filter(|line| !is_refused_page(line)).collect()
    }

    /// Asserts that nothing was refused, missing or thrown, and that no other address was asked.
    pub fn assert_quiet(&self) {
        assert_eq!(self.complaints(), [""; 0], "the browser's log");
        assert_eq!(texts(&self.run(FIND_STRANGERS)), [""; 0], "another address was asked");
    }
}

/// Whether a line of the log is about a page whose status says that it is refused or gone. The files that
/// belong to a page have an extension, and must be there.
fn is_refused_page(line: &str) -> bool {
    let (url, message) = line.split_once(" - ").unwrap_or_default();
    let is_page = !url.rsplit('/').next().unwrap_or_default().contains('.') && !url.ends_with("/raw");
    is_page && message.starts_with("Failed to load resource: the server responded with a status of 4")
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().expect("a list").iter().map(|text| text.as_str().expect("a text").to_owned()).collect()
}

/// Where the pictures go.
fn folder() -> PathBuf {
    repository().join("target/page")
}

fn decode_base64(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).expect("the driver sends base64")
}
