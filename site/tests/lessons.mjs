// Lessons 00 to 05 in JupyterLite, top to bottom, as a person would run them: each cell prints what is
// stored, and draws as many figures. Then an answer of a student: a wrong one, a right one, and a reload.
// node lessons.mjs PAGES.json [lesson...]
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { base, launch, report } from "./common.mjs";

const asked = process.argv.slice(3);
const lite = `${base}/lite`;
const listing = await (await fetch(`${lite}/api/contents/all.json`)).json();
const names = listing.content.map((one) => one.name).filter((name) => /^(0\d_|scratch).*ipynb$/.test(name)).sort();
const lessons = asked.length ? names.filter((name) => asked.some((a) => name.startsWith(a))) : names;
const failures = [];
const seconds = (since) => Math.round((Date.now() - since) / 100) / 10;

async function open(page, name) {
  await page.goto(`${lite}/notebooks/index.html?path=${name}`);
  const shown = () => window.jupyterapp?.shell?.currentWidget?.content?.model?.cells?.length > 1;
  await page.waitForFunction(shown, null, { timeout: 120000 });
  const idle = () => window.jupyterapp.shell.currentWidget.sessionContext?.session?.kernel?.status === "idle";
  await page.waitForFunction(idle, null, { timeout: 300000 });
}

/** [{executed, prompt, outputs}] of the code cells. */
const cells = (page) =>
  page.evaluate(() =>
    window.jupyterapp.shell.currentWidget.content.widgets
      .filter((cell) => cell.model.type === "code")
      .map((cell) => ({
        executed: cell.model.executionCount,
        prompt: cell.node.querySelector(".jp-InputPrompt")?.textContent ?? "",
        source: cell.model.sharedModel.getSource(),
        outputs: cell.model.outputs.toJSON(),
      })),
  );

const text = (outputs) =>
  outputs.filter((o) => o.name === "stdout").map((o) => [o.text].flat().join("")).join("");
const pictures = (outputs) => outputs.filter((o) => o.data?.["image/png"]).length;

const NUMBER = /-?\d+\.?\d*(?:e[+-]?\d+)?/g;

/** Whether texts are the same but for rounding: WebAssembly adds in another order. */
function alike(one, other) {
  const words = (string) => string.replace(NUMBER, "#").replace(/\s+/g, " ");
  if (words(one) !== words(other)) return false;
  const [a, b] = [one, other].map((string) => (string.match(NUMBER) ?? []).map(Number));
  return a.every((value, i) => Math.abs(value - b[i]) <= 1e-9 + 1e-6 * Math.abs(b[i]));
}

async function settled(page, done, limit) {
  const end = Date.now() + limit;
  for (;;) {
    const found = await cells(page);
    if (done(found)) return found;
    if (Date.now() > end) throw new Error(`not done after ${limit / 1000} s`);
    await page.waitForTimeout(300);
  }
}

/** Open a lesson and run all of it: its stored cells, and the seconds until its first figure. */
async function firstFigure(page, name) {
  const start = Date.now();
  await open(page, name);
  const stored = await cells(page);
  await page.evaluate(() => window.jupyterapp.commands.execute("editmenu:clear-all"));
  await page.evaluate(() => void window.jupyterapp.commands.execute("notebook:run-all-cells"));
  await settled(page, (all) => all.some((cell) => pictures(cell.outputs)), 240000);
  return { stored, first: seconds(start) };
}

async function whole(name) {
  const { page, troubles, close } = await launch();
  const start = Date.now();
  const { stored, first } = await firstFigure(page, name);
  const finished = (all) => all.every((cell) => cell.source.trim() === "" || (cell.executed && !cell.prompt.includes("*")));
  const ran = await settled(page, finished, 480000);
  ran.forEach((cell, i) => {
    const error = cell.outputs.find((o) => o.output_type === "error");
    const marked = stored[i].outputs.find((o) => o.output_type === "error"); // an open exercise
    if (error && !marked) failures.push(`${name}, code cell ${i}: ${error.ename}: ${error.evalue.slice(0, 200)}`);
    if (!alike(text(cell.outputs), text(stored[i].outputs))) {
      failures.push(`${name}, code cell ${i} prints ${JSON.stringify(text(cell.outputs).slice(0, 200))}, stored ${JSON.stringify(text(stored[i].outputs).slice(0, 200))}`);
    }
    if (pictures(cell.outputs) !== pictures(stored[i].outputs)) {
      failures.push(`${name}, code cell ${i} draws ${pictures(cell.outputs)} figures, stored ${pictures(stored[i].outputs)}`);
    }
  });
  for (const trouble of new Set(troubles)) failures.push(`${name}: ${trouble}`);
  console.log(`lessons: ${name}: ${ran.length} cells, first figure after ${first} s, all after ${seconds(start)} s`);
  await close();
}

/** Lesson 01: a wrong answer brings a hint, the right one its reason, and both are there after a reload. */
async function answered() {
  const name = names.find((one) => one.startsWith("01"));
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), "site-student-"));
  const { page, close } = await launch({ profile });
  await open(page, name);
  const say = async (answer) => {
    const place = await page.evaluate((value) => {
      const all = window.jupyterapp.shell.currentWidget.content;
      const i = all.widgets.findIndex((cell) => cell.model.type === "code" && cell.model.sharedModel.getSource().includes('check("01.1"'));
      all.widgets[i].model.sharedModel.setSource(`from unlearnlab.teaching import check\ncheck("01.1", ${value})`);
      all.activeCellIndex = i;
      return i;
    }, answer);
    await page.evaluate(() => window.jupyterapp.commands.execute("notebook:run-cell"));
    return page.evaluate((i) => JSON.stringify(window.jupyterapp.shell.currentWidget.content.widgets[i].model.outputs.toJSON()), place);
  };
  if (!(await say("-1")).includes("Not yet")) failures.push("01.1: a wrong answer is not answered");
  if (!(await say("-2")).includes("Right, because")) failures.push("01.1: the right answer is not answered");
  await page.evaluate(() => window.jupyterapp.commands.execute("docmanager:save"));
  await page.waitForTimeout(1500);
  await open(page, name);
  const kept = (await cells(page)).some((cell) => cell.source.includes('check("01.1", -2)'));
  if (!kept) failures.push("01.1: the answer is gone after a reload");
  await close();
  fs.rmSync(profile, { recursive: true, force: true });
}

/** The first lesson in a new browser, and again in the same one, which keeps what it has loaded. */
async function twoVisits() {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), "site-visitor-"));
  for (const visit of ["first", "second"]) {
    const { page, close } = await launch({ profile, guarded: false });
    const { first } = await firstFigure(page, names[0]);
    console.log(`lessons: ${names[0]}, ${visit} visit: first figure after ${first} s`);
    await close();
  }
  fs.rmSync(profile, { recursive: true, force: true });
}

for (const name of lessons) {
  await whole(name).catch((error) => failures.push(`${name}: ${error.message}`));
}
if (!asked.length) {
  await answered().catch((error) => failures.push(`an answer: ${error.message}`));
  await twoVisits().catch((error) => failures.push(`a visit: ${error.message}`));
}
report("lessons", failures, `${lessons.length} lessons`);
