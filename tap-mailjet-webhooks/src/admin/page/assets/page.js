// Keeps the page up to date, opens items in place, and copies. Without this script, everything that it does
// has a link or can be selected by hand.
"use strict";

const REFRESH_MS = 2000;
const IDLE_REFRESH_MS = 30000;
const IDLE_AFTER_MS = 600000;
const TIMEOUT_MS = 10000;
const MAX_FAILURES = 3;
const COPIED_MS = 2000;

function say(text) {
  document.getElementById("said").textContent = text;
}

async function load(address) {
  const answer = await fetch(address, { signal: AbortSignal.timeout(TIMEOUT_MS), cache: "no-store" });
  // The session is over. The page itself shows the login form.
  if (answer.status === 401) location.reload();
  if (!answer.ok) throw new Error(answer.statusText);
  return answer;
}

async function loadPage(address) {
  return new DOMParser().parseFromString(await (await load(address)).text(), "text/html");
}

// Copy: the text of an element, or what an address returns.

function showCopyButtons(within) {
  for (const button of within.querySelectorAll("[data-copy]")) button.hidden = false;
}

async function copy(button) {
  const source = button.dataset.copy;
  const element = source.startsWith("/")
    ? button.closest("h2, h3").parentElement.querySelector("pre")
    : document.getElementById(source);
  try {
    const text = source.startsWith("/") ? await (await load(source)).text() : element.textContent.trim();
    await navigator.clipboard.writeText(text);
    say("Copied");
    const label = [...button.childNodes];
    button.textContent = "Copied";
    setTimeout(() => button.replaceChildren(...label), COPIED_MS);
  } catch {
    // Browsers have no clipboard on addresses without TLS, except on localhost.
    getSelection().selectAllChildren(element);
    say("Selected; press Ctrl+C to copy");
  }
}

// Items in place.

async function toggleItem(link) {
  const row = link.closest("tr");
  const isOpen = link.getAttribute("aria-expanded") === "true";
  if (isOpen) {
    row.nextElementSibling.remove();
  } else {
    const page = await loadPage(link.href);
    const cell = document.createElement("td");
    cell.colSpan = 3;
    cell.append(...page.querySelectorAll(".reason, #item"));
    for (const element of cell.querySelectorAll("[id]")) element.removeAttribute("id");
    const more = document.createElement("a");
    more.href = link.href;
    more.textContent = "Open as a page";
    const hint = document.createElement("p");
    hint.className = "hint";
    hint.append(more);
    cell.append(hint);
    const detail = document.createElement("tr");
    detail.className = "detail";
    detail.id = `d-${row.id}`;
    detail.append(cell);
    showCopyButtons(detail);
    row.after(detail);
  }
  describeItemLink(link, !isOpen);
}

function describeItemLink(link, isOpen) {
  const row = link.closest("tr");
  link.setAttribute("role", "button");
  link.setAttribute("aria-expanded", String(isOpen));
  if (isOpen) link.setAttribute("aria-controls", `d-${row.id}`);
  else link.removeAttribute("aria-controls");
  link.setAttribute("aria-label", `${isOpen ? "Close" : "Details of"} item ${row.id.slice(2)}`);
  link.firstElementChild.textContent = isOpen ? "Close" : "Details";
}

function describeItemLinks() {
  for (const link of document.querySelectorAll("a.go:not([role])")) describeItemLink(link, false);
}

// Live refresh. It replaces the elements with data-live, and leaves alone what somebody is using.

function isInUse(element) {
  if (element.contains(document.activeElement) || element.querySelector(":popover-open, details[open]")) {
    return true;
  }
  return [...element.querySelectorAll("input:not([type=hidden])")].some((i) => i.value !== i.defaultValue);
}

let isPaused = false;
let failures = 0;
let lastInput = Date.now();
let timer = 0;
let newerItems = null;

function replaceParts(fresh) {
  for (const part of document.querySelectorAll("[data-live]")) {
    const now = fresh.getElementById(part.id);
    if (now && !isInUse(part) && now.outerHTML !== part.outerHTML) part.replaceWith(document.adoptNode(now));
  }
  const band = document.getElementById("band");
  const before = band.className;
  band.className = fresh.getElementById("band").className;
  // The headline holds no figure that changes all the time, so only news is spoken.
  if (band.className !== before) say(document.getElementById("headline").textContent);
  document.title = fresh.title;
  document.querySelector("link[rel=icon]").href = fresh.querySelector("link[rel=icon]").href;
}

// Rows are never inserted under the reader, who may ask for them.
function refreshItems(fresh) {
  const rows = [...fresh.querySelectorAll("#item-list tbody tr[id]")];
  for (const row of rows) {
    const progress = document.querySelector(`#${row.id} .p`);
    const now = row.querySelector(".p");
    if (progress && progress.outerHTML !== now.outerHTML) progress.replaceWith(now.cloneNode(true));
  }
  const isShown = (row) => document.getElementById(row.id) !== null;
  const firstShown = rows.findIndex(isShown);
  const count = firstShown < 0 ? rows.length : firstShown;
  newerItems = fresh.getElementById("item-list");
  const more = document.getElementById("new-items");
  more.hidden = count === 0;
  more.textContent = `${count} new item${count === 1 ? "" : "s"}. Show them`;
}

function showNewItems() {
  document.getElementById("item-list").replaceWith(document.adoptNode(newerItems));
  document.getElementById("new-items").hidden = true;
  describeItemLinks();
}

function describeTime(word, lost) {
  document.getElementById("as-of-word").textContent = word;
  document.getElementById("lost").textContent = lost;
}

async function refresh() {
  if (isPaused || document.hidden) return;
  try {
    const fresh = await loadPage(location.pathname + location.search);
    if (isPaused) return;
    failures = 0;
    replaceParts(fresh);
    refreshItems(fresh);
    document.querySelector("#as-of time").replaceWith(fresh.querySelector("#as-of time"));
    describeTime("Live, as of", "");
  } catch {
    failures += 1;
    if (failures === MAX_FAILURES) {
      const at = document.querySelector("#as-of time").textContent;
      document.getElementById("band").className = "band is-wait is-lost";
      document.querySelector("#band-icon use").setAttribute("href", "#i-wait");
      describeTime("As of", `Lost the connection to the tap at ${at}. The figures are from then.`);
      say(document.getElementById("lost").textContent);
    }
  }
  schedule();
}

function schedule() {
  clearTimeout(timer);
  const isIdle = Date.now() - lastInput > IDLE_AFTER_MS;
  timer = setTimeout(refresh, isIdle ? IDLE_REFRESH_MS : REFRESH_MS);
}

function startLive() {
  const pause = document.createElement("button");
  pause.type = "button";
  pause.className = "lnk";
  pause.textContent = "Pause";
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.textContent = isPaused ? "Resume" : "Pause";
    describeTime(isPaused ? "Paused, as of" : "Live, as of", "");
    if (!isPaused) refresh();
  });
  document.getElementById("as-of").after(pause);
  describeTime("Live, as of", "");
  document.addEventListener("visibilitychange", refresh);
  for (const kind of ["pointerdown", "keydown", "scroll"]) {
    document.addEventListener(kind, () => { lastInput = Date.now(); }, { passive: true });
  }
  schedule();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
  const item = event.target.closest("a.go");
  if (item && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    toggleItem(item).catch(() => location.assign(item.href));
  }
  if (event.target.id === "new-items" && newerItems) {
    event.preventDefault();
    showNewItems();
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== " " || !event.target.matches("a.go[role=button]")) return;
  event.preventDefault();
  event.target.click();
});

showCopyButtons(document);
describeItemLinks();
if (document.getElementById("band")) startLive();
