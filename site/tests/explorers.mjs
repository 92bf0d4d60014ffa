// Every explorer, by keyboard: its number changes, is the one that its module computes, and it redraws
// within a frame (not asked when quick: other work may run beside). node explorers.mjs PAGES.json [quick]
import { base, launch, report } from "./common.mjs";

const FRAME = 16; // milliseconds, of three redraws in four at least
const quick = process.argv[3] === "quick";
const { page, troubles, close } = await launch({ width: 1000 });
const failures = [];
await page.goto(`${base}/explorers.html`);
const hosts = await page.locator(".explorer").all();
await page.waitForFunction((n) => document.querySelectorAll(".explorer[data-ready]").length === n, hosts.length, { timeout: 30000 });

for (const host of hosts) {
  const name = await host.getAttribute("data-name");
  const said = () => host.locator(".readout").textContent();
  const sliders = await host.locator("input[type=range]").all();
  for (const [i, slider] of sliders.entries()) {
    const label = await slider.evaluate((e) => document.querySelector(`label[for="${e.id}"]`)?.textContent);
    if (!label) failures.push(`${name}: slider ${i} has no label`);
    const [before, value] = [await said(), await slider.inputValue()];
    await slider.focus();
    for (let key = 0; key < 6; key += 1) await page.keyboard.press("ArrowRight");
    if ((await slider.inputValue()) === value) failures.push(`${name}: slider ${i} does not move by keys`);
    if ((await said()) === before) failures.push(`${name}: slider ${i} changes no number`);
  }
  for (const radio of await host.locator("input[type=radio]").all()) {
    await radio.focus();
    await page.keyboard.press("Space");
  }
  const text = await said();
  if (/NaN|Infinity|undefined/.test(text)) failures.push(`${name} says ${text}`);
  const redraws = await host.evaluate((element) => {
    const slider = element.querySelector("input[type=range]");
    const times = [];
    for (let i = 0; i < 40; i += 1) {
      slider.value = Number(slider.min) + ((Number(slider.max) - Number(slider.min)) * (i + 1)) / 42;
      const start = performance.now();
      slider.dispatchEvent(new Event("input"));
      element.querySelector("svg").getBoundingClientRect(); // the layout, too
      times.push(performance.now() - start);
    }
    return times.sort((a, b) => a - b);
  });
  const [half, most] = [redraws[20], redraws[30]].map((time) => time.toFixed(1));
  console.log(`explorers: ${name} redraws in ${half} ms (median), three times of four in at most ${most}`);
  if (most > FRAME && !quick) failures.push(`${name} redraws in ${most} ms, more than ${FRAME}`);
}
for (const trouble of troubles) failures.push(trouble);
await page.screenshot({ path: `${process.env.SITE_TEST_PACKAGES}/explorers.png`, fullPage: true });
await close();
report("explorers", failures, `${hosts.length} explorers`);
