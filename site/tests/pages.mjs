// Every page of the site, in a browser: node pages.mjs PAGES.json [quick]
// No errors, nothing asked of other hosts, formulas set, no sideways scrolling at three widths, and
// nothing serious found by axe.
import fs from "node:fs";
import { axe, base, launch, report } from "./common.mjs";

const WIDTHS = [360, 768, 1440];
const quick = process.argv[3] === "quick"; // one width, no axe, and no pages of single names
const all = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const pages = quick ? all.filter((name) => !name.startsWith("api/names/")) : all;
const { page, troubles, close } = await launch();
const failures = [];

/** Formulas that MathJax has not set. */
const unset = () => document.querySelectorAll(".math").length && !document.querySelector("mjx-container");
/** How far the page reaches beyond the window, and the elements that do. */
const beyond = () => {
  const room = document.documentElement.clientWidth;
  const over = document.documentElement.scrollWidth - room;
  if (over <= 0) return null;
  const wide = [...document.querySelectorAll("main *")].filter((e) => e.getBoundingClientRect().right > room + 1);
  const names = wide.slice(0, 3).map((e) => `${e.tagName.toLowerCase()}.${e.className}`);
  return `${over} pixels too wide (${names.join(", ")})`;
};

for (const name of pages) {
  troubles.length = 0;
  await page.setViewportSize({ width: 1440, height: 1000 });
  await page.goto(`${base}/${name}`, { waitUntil: "load" });
  if (await page.locator(".math").count()) {
    await page.waitForSelector("mjx-container", { timeout: 20000 }).catch(() => null);
    if (await page.evaluate(unset)) failures.push(`${name}: formulas are not set`);
  }
  const widths = name.startsWith("api/names/") || quick ? [360] : WIDTHS;
  for (const width of widths) {
    await page.setViewportSize({ width, height: 1000 });
    const said = await page.evaluate(beyond);
    if (said) failures.push(`${name} at ${width}: ${said}`);
  }
  const seen = !name.startsWith("api/names/") || name.includes("Likelihood");
  if (seen && !quick) {
    await page.setViewportSize({ width: 1440, height: 1000 });
    await page.evaluate(axe);
    const found = await page.evaluate(() => window.axe.run({ resultTypes: ["violations"] }));
    for (const one of found.violations.filter((v) => ["serious", "critical"].includes(v.impact))) {
      const where = one.nodes.slice(0, 2).map((node) => node.target.join(" "));
      failures.push(`${name}: ${one.id}, ${one.help} (${one.nodes.length}: ${where.join("; ")})`);
    }
  }
  for (const trouble of troubles) failures.push(`${name}: ${trouble}`);
}
await close();
report("pages", failures, `${pages.length} pages`);
