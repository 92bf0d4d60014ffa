// What the theme leaves out for those who use a keyboard or a screen reader.
document.addEventListener("DOMContentLoaded", () => {
  for (const summary of document.querySelectorAll("summary:not([aria-label])")) {
    const page = summary.closest("li")?.querySelector("a")?.textContent.trim();
    if (page && !summary.textContent.trim()) summary.setAttribute("aria-label", `Pages below ${page}`);
  }
  for (const button of document.querySelectorAll(".search-button-field[aria-label]")) {
    button.removeAttribute("aria-label"); // its text says what it is, and its keys
  }
  for (const wide of document.querySelectorAll(".bd-article table, .bd-article pre, mjx-container[display]")) {
    if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0; // scrolls by keys, too
  }
});

// Explorers: <div class="explorer" data-name="targets"></div> is filled by explorers/targets.mjs.
document.addEventListener("DOMContentLoaded", async () => {
  const hosts = [...document.querySelectorAll(".explorer[data-name]")];
  if (!hosts.length) return;
  const root = new URL(document.documentElement.dataset.content_root || "./", document.baseURI);
  const load = new Promise((resolve, reject) => {
    const script = document.createElement("script");
    Object.assign(script, { src: new URL("_static/d3.min.js", root), onload: resolve, onerror: reject });
    document.head.append(script);
  });
  for (const host of hosts) {
    try {
      await load;
      const { show } = await import(new URL(`_static/explorers/${host.dataset.name}.mjs`, root));
      await show(host);
      host.dataset.ready = "";
    } catch {
      host.textContent = "This explorer could not be loaded: the site was built without npm, or is not served.";
    }
  }
});
