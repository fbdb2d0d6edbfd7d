// @ts-check
// The page: which part hears of what.

import "./trusted-types.js";
import { storage } from "./package/index.js";
import { AdapterMenu } from "./adapter-menu.js";
import { Announcer } from "./announcer.js";
import { addressOf, readCatalog } from "./catalog.js";
import { byId, make, swap } from "./dom.js";
import { startFileIntake } from "./file-intake.js";
import { readKept, writeKept } from "./kept.js";
import { bytes, drawn, language, number, startLanguage, t } from "./language.js";
import { ModelCard } from "./model-card.js";
import { Notices, codeOf, textOfError } from "./notices.js";
import { startOffline } from "./offline.js";
import { Opener } from "./opener.js";
import { Paper } from "./paper.js";
import { chooseEngine, chosenEngine, generationOptions, keptSettings, restoreSettings, startSettings } from "./settings.js";
import { StoragePanel } from "./storage-panel.js";
import { Writer } from "./writer.js";

/** While it writes, the text is kept this often; the state, which only exists between generations, at each end. */
const MILLISECONDS_BETWEEN_KEEPS = 1000;

startLanguage();

const prompt = byId("prompt", HTMLTextAreaElement);
const choice = byId("model", HTMLSelectElement);
const open = byId("open-model", HTMLButtonElement);
const write = byId("write", HTMLButtonElement);
const stop = byId("stop", HTMLButtonElement);
const goOn = byId("go-on", HTMLButtonElement);
const copy = byId("copy", HTMLButtonElement);

/** @type {import("./catalog.js").OfferedModel[]} */
let offered = [];

const notices = new Notices();
const opener = new Opener(notices);
const card = new ModelCard();
const announcer = new Announcer();
const adapters = new AdapterMenu(titleOfAdapter, useAdapter, (error) => sayError("adapter", error));
const paper = new Paper(titleOfAdapter);
const storagePanel = new StoragePanel(drawChoice);
const writer = new Writer({ onDraft: showDraft, onStart: showStart, onPiece: showPiece, onEnd: showEnd });

/** @type {import("./package/index.js").Model | null} */
let model = null;
/** What is open, or was when the text was written. @type {import("./opener.js").Source | null} */
let source = null;
/** @type {import("./kept.js").Kept | null} */
let restored = null;
let lastKept = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let keeping;
let pieces = 0;
let firstPiece = 0;
/** @type {() => void} */
let drawResult = () => {};

byId("writing-form", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  begin();
});
prompt.addEventListener("input", keepSoon);
prompt.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) begin();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") writer.stop();
});
stop.addEventListener("click", () => writer.stop());
goOn.addEventListener("click", () => {
  const options = generationOptions();
  if (options) void writer.goOn(options);
});
copy.addEventListener("click", async () => {
  await navigator.clipboard.writeText(writer.draft.text).then(
    () => say(() => t("copied")),
    (error) => sayError("copy", error),
  );
});
open.addEventListener("click", () => openOffered(chosenEngine()));
choice.addEventListener("change", drawChoice);
byId("engine", HTMLSelectElement).addEventListener("change", () => {
  if (model && source) void openSource(source, chosenEngine());
});

startFileIntake(takeFiles);
startSettings(keepSoon);
drawn(drawChoices);
drawn(() => drawResult());
startOffline(notices);
await start();

/** Opens what was open at the last visit, if that needs no download. */
async function start() {
  const [kept, list] = await Promise.all([readKept(), readCatalog(), storagePanel.refresh()]);
  offered = list ?? [];
  if (kept) {
    restored = kept;
    prompt.value = kept.beginning;
    restoreSettings(kept.settings);
    writer.restore(kept);
  }
  drawChoices();
  if (kept?.model && offered.some(({ name }) => name === kept.model?.name)) choice.value = kept.model.name;
  drawChoice();
  const model = offered.find(({ name }) => name === choice.value);
  if (kept?.model?.fromDisk) {
    notices.show("from-disk", { kind: "info", text: "from-disk", values: { name: kept.model.name } });
  } else if (model && storagePanel.isComplete(addressOf(model.file))) {
    openOffered(chosenEngine());
  } else if (!navigator.onLine) {
    notices.show("opening", { kind: "warning", text: "error.offline" });
  } else if (!list) {
    notices.show("opening", { kind: "info", text: "no-catalog" });
  }
}

/** @param {"auto" | "webgpu" | "cpu"} engine */
function openOffered(engine) {
  const { name, file, sha256 } = offered.find(({ name }) => name === choice.value) ?? {};
  if (name && file) void openSource({ name, file: null, url: addressOf(file), sha256 }, engine);
}

/** @param {import("./file-intake.js").Intake} intake */
function takeFiles(intake) {
  if ("model" in intake) {
    void openSource({ name: intake.model.name, file: intake.model, url: "" }, chosenEngine());
  } else if ("adapter" in intake && model) {
    const { name, config, weights } = intake.adapter;
    adapters.add({ name, read: async () => ({ config, weights }) }).catch((error) => sayError("adapter", error));
  } else {
    const names = "adapter" in intake ? t("files.no-model") : intake.unknown;
    notices.show("files", { kind: "warning", text: "files", values: { names } });
  }
}

/**
 * @param {import("./opener.js").Source} next
 * @param {"auto" | "webgpu" | "cpu"} engine
 */
async function openSource(next, engine) {
  if (opener.busy) return;
  chooseEngine(engine);
  const text = record(); // with the state, which only this model's session can use
  open.disabled = true;
  await writer.close();
  // Before the next one is loaded: memory for two models may not be there.
  model?.dispose();
  model = null;
  card.show(null, () => "");
  adapters.show(null, []);
  drawActions();
  const loaded = await opener.open(next, engine, (again) => void openSource(next, again));
  if (!loaded) {
    restored ??= text; // for the attempt that succeeds
  } else {
    model = loaded;
    source = next;
    model.on("engine", sayEngine);
    card.show(model, () => titleOfModel(next));
    adapters.show(model, next.file ? [] : (offered.find(({ name }) => name === next.name)?.adapters ?? []));
    writer.use(model);
    await goBack(restored ?? text);
    restored = null;
    void keep();
    notices.hide("from-disk");
    sayWhyNotWebGpu(engine);
    void storage.persist().catch(() => {});
  }
  await storagePanel.refresh();
  drawChoice();
  drawActions();
}

/**
 * State and adapter as they were, when it is this model that wrote the text.
 * @param {import("./kept.js").Kept} kept
 */
async function goBack(kept) {
  const { state, stateAdapter, adapter, modelId, read } = kept;
  try {
    if (state && modelId === model?.info.modelId && adapters.has(stateAdapter)) {
      await adapters.choose(stateAdapter);
      await writer.resume(state, read);
    }
    // Another one where the page was left while a second adapter was writing.
    if (adapters.has(adapter) && adapter !== adapters.chosen) await adapters.choose(adapter);
  } catch (error) {
    // The text is there all the same, and is read again when it is continued.
    sayError("adapter", error);
  }
}

/** @param {string | null} name */
async function useAdapter(name) {
  await writer.setAdapter(name);
  await storagePanel.refresh();
  await keep();
}

function begin() {
  const options = generationOptions();
  if (!writer.ready || !options) return;
  if (prompt.value.trim() === "") {
    prompt.focus();
    say(() => t("prompt.empty"));
    return;
  }
  void writer.begin(prompt.value, options);
}

/** @param {import("./draft.js").Draft} draft */
function showDraft(draft) {
  paper.show(draft);
  announcer.clear();
}

function showStart() {
  pieces = 0;
  paper.busy = true;
  notices.hide("writing");
  say(() => t("writing.now"));
  swap(stop, write);
  drawActions();
}

/**
 * @param {string | null} adapter
 * @param {string} piece
 */
function showPiece(adapter, piece) {
  paper.add(adapter, piece);
  announcer.add(piece);
  const now = performance.now();
  if (pieces === 0) firstPiece = now;
  else byId("speed", HTMLElement).textContent = t("meter.speed.about", { n: number((pieces * 1000) / (now - firstPiece), 1) });
  pieces += 1;
  if (now - lastKept > MILLISECONDS_BETWEEN_KEEPS) void keep();
}

/**
 * @param {import("./package/index.js").GenerationResult | null} result
 * @param {unknown} error
 */
function showEnd(result, error) {
  paper.busy = false;
  announcer.finish();
  drawActions(); // first: a disabled button takes no focus
  swap(write, stop);
  if (result) {
    byId("speed", HTMLElement).textContent = t("meter.speed.exact", { n: number(result.tokensPerSecond, 1) });
    say(() =>
      t(`result.${result.reason}`, {
        tokens: number(result.tokens.length),
        speed: number(result.tokensPerSecond, 1),
        first: number(result.timeToFirstToken),
      }),
    );
  } else {
    say(() => "");
    sayError("writing", error);
  }
  void card.refresh();
  void keep();
}

/** @param {import("./package/index.js").EngineEvent} event */
function sayEngine(event) {
  card.draw();
  const text = event.kind === "rebuilt" ? "engine.rebuilt" : `engine.fallback.${event.code === "out-of-memory" ? "memory" : "lost"}`;
  notices.show("engine", { kind: event.kind === "rebuilt" ? "info" : "warning", text, values: { device: event.device }, detail: event.reason });
}

/** @param {"auto" | "webgpu" | "cpu"} asked */
function sayWhyNotWebGpu(asked) {
  if (asked === "auto" && model?.info.engine === "cpu") {
    notices.show("engine", { kind: "info", text: "engine.no-webgpu", detail: model.info.engineReason ?? undefined, once: true });
  } else {
    notices.hide("engine");
  }
}

/**
 * @param {"adapter" | "copy" | "writing"} subject
 * @param {unknown} error
 */
function sayError(subject, error) {
  const code = codeOf(error);
  if (code === "aborted") return; // by the person, or because the model was changed
  const text = subject === "adapter" && code === "network" ? "adapters.missing" : textOfError(error);
  notices.show(subject, { kind: "error", text, detail: error instanceof Error ? error.message : String(error) });
}

/** A line below the text, in whichever language. @param {() => string} text */
function say(text) {
  drawResult = () => void (byId("result", HTMLElement).textContent = text());
  drawResult();
}

/** @returns {import("./kept.js").Kept} */
function record() {
  const { prompt: begun, spans, read } = writer.draft;
  return {
    model: source && { name: source.name, fromDisk: source.file !== null },
    modelId: model?.info.modelId ?? "",
    adapter: adapters.chosen,
    beginning: prompt.value,
    prompt: begun,
    spans,
    state: writer.state,
    stateAdapter: writer.stateAdapter,
    read,
    settings: keptSettings(),
  };
}

/** For changes that come one after the other, such as letters: once they pause, and before the field is left. */
function keepSoon() {
  clearTimeout(keeping);
  keeping = setTimeout(() => void keep(), 300);
}

async function keep() {
  lastKept = performance.now();
  // Until its model is open, the record of the last visit is worth more than what is on the page.
  if (!restored) await writeKept(record());
}

function drawActions() {
  write.disabled = !writer.ready;
  goOn.disabled = !writer.ready || writer.draft.isEmpty;
  copy.disabled = writer.writing || writer.draft.isEmpty;
}

function drawChoices() {
  const chosen = choice.value;
  choice.replaceChildren(
    ...offered.map(({ name, title, bytes: size }) => make("option", { value: name, selected: name === chosen }, `${title[language()]} · ${bytes(size)}`)),
  );
  if (offered.length === 0) choice.append(make("option", { value: "" }, t("model.none")));
  choice.disabled = offered.length === 0;
  drawChoice();
}

/** What the button does depends on whether the model is open, on this device, or still to come. */
function drawChoice() {
  const chosen = offered.find(({ name }) => name === choice.value);
  const isOpen = model !== null && source?.file === null && source.name === chosen?.name;
  open.disabled = !chosen || isOpen || opener.busy;
  const here = chosen && storagePanel.isComplete(addressOf(chosen.file));
  open.textContent = t(isOpen ? "model.is-open" : here || !chosen ? "model.open" : "model.download");
}

/** @param {import("./opener.js").Source} opened */
function titleOfModel(opened) {
  return offered.find(({ name }) => opened.file === null && name === opened.name)?.title[language()] ?? opened.name;
}

/** One that no model of this site offers came from disk and has only its name. @param {string | null} name */
function titleOfAdapter(name) {
  if (name === null) return t("adapters.none");
  return offered.flatMap((model) => model.adapters).find((adapter) => adapter.name === name)?.title[language()] ?? name;
}
