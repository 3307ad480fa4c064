// Copies what a button names. Without this script, a click selects the text, and Copy is not shown.
"use strict";
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    const said = document.getElementById("said");
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
      said.textContent = "Copied";
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      said.textContent = "Selected; press Ctrl+C to copy";
    }
  });
}
