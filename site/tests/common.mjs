// A Chromium of its own for a test: one that reaches this site alone, and says what went wrong.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";

const packages = process.env.SITE_TEST_PACKAGES; // a folder with playwright-core and axe-core
const { chromium } = await import(pathToFileURL(path.join(packages, "playwright-core/index.mjs")));

export const axe = fs.readFileSync(path.join(packages, "axe-core/axe.min.js"), "utf8");
export const base = process.env.SITE_TEST_BASE;
export const browserPath = process.env.SITE_TEST_CHROMIUM;

const ARGUMENTS = [
  "--no-sandbox", // containers have no user namespaces
  "--disable-gpu",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];

/**
 * A browser with an empty profile, or with that of `profile`. One that is not guarded may ask other
 * hosts, and keeps what it has loaded: what watches requests turns its cache off.
 */
export async function launch({ width = 1440, height = 1000, profile, guarded = true } = {}) {
  const folder = profile ?? fs.mkdtempSync(path.join(os.tmpdir(), "site-test-"));
  const context = await chromium.launchPersistentContext(folder, {
    executablePath: browserPath,
    headless: true,
    viewport: { width, height },
    args: ARGUMENTS,
  });
  const troubles = [];
  const watch = (route) => {
    const url = new URL(route.request().url());
    if (url.origin === new URL(base).origin || ["data:", "blob:"].includes(url.protocol)) {
      return route.continue();
    }
    troubles.push(`asked ${url.host} for ${url.pathname}`);
    return route.abort();
  };
  if (guarded) await context.route("**/*", watch);
  const page = context.pages()[0] ?? (await context.newPage());
  page.on("console", (message) => {
    if (message.type() === "error") troubles.push(`console: ${message.text().slice(0, 300)}`);
  });
  page.on("pageerror", (error) => troubles.push(`error: ${String(error).slice(0, 300)}`));
  page.on("response", (response) => {
    if (response.status() >= 400) troubles.push(`${response.status()} for ${response.url()}`);
  });
  const close = async () => {
    await context.close();
    if (!profile) fs.rmSync(folder, { recursive: true, force: true });
  };
  return { page, context, troubles, close };
}

/** Print what failed, a line each, and end with the exit code that says so. */
export function report(name, failures, counted) {
  for (const line of failures) console.log(`${name}: ${line}`);
  console.log(`${name}: ${counted}, ${failures.length} failures`);
  process.exitCode = failures.length ? 1 : 0;
}
