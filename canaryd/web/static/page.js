// What htmx does not do: dialogs, single keys, and saying that the page is not of this moment any more.
"use strict";

(() => {
  const byId = (id) => document.getElementById(id);
  let renewed = new Date();

  // -- dialogs: opened here, closed by Esc, by their own buttons, or by a click beside them

  const opened = (dialog) => { if (!dialog.open) dialog.showModal(); };

  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-opens]");
    if (opener) opened(byId(opener.dataset.opens));
    const closer = event.target.closest("[data-closes]");
    const around = closer && closer.closest("dialog");
    if (around) { event.preventDefault(); around.close(); }
    if (event.target.tagName === "DIALOG") event.target.close();
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id === "asking") opened(event.detail.target);
  });

  // A link that acts as a button is pressed by the space bar, too.
  document.addEventListener("keydown", (event) => {
    if (event.key === " " && event.target.matches && event.target.matches("a[role=button]")) {
      event.preventDefault();
      event.target.click();
    }
  });

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-sends]")) event.target.form.requestSubmit();
  });

  // -- single keys, which can be switched off

  const heard = () => localStorage.getItem("canaryd-keys") !== "off";

  document.addEventListener("DOMContentLoaded", () => {
    const box = byId("keys-on");
    box.checked = heard();
    box.addEventListener("change", () => localStorage.setItem("canaryd-keys", box.checked ? "on" : "off"));
  });

  document.addEventListener("keydown", (event) => {
    const writing = event.target.closest && event.target.closest("input, textarea, select, [contenteditable]");
    if (writing || event.ctrlKey || event.metaKey || event.altKey || !heard()) return;
    if (event.key === "?") { event.preventDefault(); opened(byId("help")); }
    if (event.key === "/" && byId("search")) { event.preventDefault(); byId("search").focus(); }
  });

  // -- renewing: not while nobody looks, and what a person has opened stays open

  const renews = (event) => /[?&]renewing/.test(event.detail.requestConfig ? event.detail.requestConfig.path : event.detail.pathInfo.requestPath);

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (renews(event) && document.hidden) event.preventDefault();
  });

  document.addEventListener("visibilitychange", () => {
    const element = byId("run") || byId("list");
    if (!document.hidden && element) htmx.ajax("GET", element.getAttribute("hx-get"), { source: element, target: element, swap: "morph:innerHTML" });
  });

  document.addEventListener("DOMContentLoaded", () => {
    Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) => !(name === "open" && node.tagName === "DETAILS");
  });

  document.addEventListener("htmx:afterRequest", (event) => {
    const stale = byId("stale");
    if (event.detail.successful) {
      renewed = new Date();
      stale.hidden = true;
    } else if (renews(event)) {
      byId("stale-since").textContent = renewed.toISOString().slice(11, 19) + " UTC";
      stale.hidden = false;
    }
  });
})();
