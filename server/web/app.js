// Puts the page together: the list of chats, the two views, the theme, the models.
import { getStatus, listModels } from "./api.js";
import { Chat } from "./chat.js";
import { $, h, iconButton, setIcon, toast } from "./dom.js";
import { chooseModel, chosenModel, setUpSettings } from "./settings.js";
import { StatusView } from "./status.js";
import { deleteChat, listChats, loadChat, newChat, onChatsChanged, saveChat, setTheme, theme } from "./store.js";

const chat = new Chat({ changed: drawChats, model: async () => chosenModel() ?? (await showModels()) });
const status = new StatusView($("status-view"));

// The address: #/ a new chat or the one in hand, #/chat/ID, #/status.
function route() {
  const [view, id] = location.hash.replace(/^#\/?/, "").split("/");
  const isStatus = view === "status";
  $("chat-view").hidden = isStatus;
  $("status-view").hidden = !isStatus;
  for (const [tab, on] of [["tab-chat", !isStatus], ["tab-status", isStatus]]) {
    if (on) $(tab).setAttribute("aria-current", "page");
    else $(tab).removeAttribute("aria-current");
  }
  $("tab-chat").href = chat.chat.messages.length ? `#/chat/${chat.chat.id}` : "#/";
  status.show(isStatus);
  document.title = isStatus ? "Status - Sluice" : "Sluice";
  if (view === "new") return openNew();
  if (view === "chat" && id !== chat.chat.id) {
    const saved = loadChat(id);
    if (saved) chat.open(saved);
    else location.hash = "#/";
  }
  if (!isStatus) chat.follow();
  drawChats();
  closeSide();
}
function openNew() {
  chat.open(newChat());
  location.hash = "#/";
  $("input").focus();
}

const kDay = 86400e3;
function ageOf(time) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  return time >= midnight ? "Today" : time >= midnight - kDay ? "Yesterday" : time >= midnight - 6 * kDay ? "This week" : "Earlier";
}
function drawChats() {
  const groups = new Map();
  for (const c of listChats()) {
    const age = ageOf(c.updated);
    if (!groups.has(age)) groups.set(age, h("ul", {}));
    const current = c.id === chat.chat.id && !$("chat-view").hidden;
    groups.get(age).append(h("li", { class: current ? "current" : null },
      h("a", { href: `#/chat/${c.id}`, title: c.title, "aria-current": current ? "page" : null }, c.title || "Untitled"),
      iconButton("trash", `Delete chat: ${c.title}`, () => remove(c.id))));
  }
  $("chats").replaceChildren(...[...groups].flatMap(([age, list]) => [h("h2", {}, age), list]));
  if (chat.chat.messages.length && !$("chat-view").hidden) history.replaceState(null, "", `#/chat/${chat.chat.id}`);
}
function remove(id) {
  const saved = loadChat(id);
  if (id === chat.chat.id) openNew();
  deleteChat(id);
  drawChats();
  if (saved) toast("Chat deleted.", { label: "Undo", run: () => (saveChat(saved), drawChats()) });
}
function removeAll() {
  const saved = listChats().map((c) => loadChat(c.id)).filter(Boolean);
  $("settings").close();
  if (!saved.length) return toast("There are no chats.");
  openNew();
  for (const c of saved) deleteChat(c.id);
  drawChats();
  toast(saved.length === 1 ? "One chat deleted." : `${saved.length} chats deleted.`, { label: "Undo", run: () => (saved.forEach(saveChat), drawChats()) });
}

function openSide() {
  $("app").classList.add("side-open");
  $("backdrop").hidden = false;
  $("main").inert = true;
  $("open-side").setAttribute("aria-expanded", "true");
  $("new-chat").focus();
}
function closeSide() {
  if (!$("app").classList.contains("side-open")) return;
  $("app").classList.remove("side-open");
  $("backdrop").hidden = true;
  $("main").inert = false;
  $("open-side").setAttribute("aria-expanded", "false");
}

const isDark = () => (theme() ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
function drawTheme() {
  setIcon($("theme"), isDark() ? "sun" : "moon");
  $("theme").setAttribute("aria-label", isDark() ? "Light theme" : "Dark theme");
  $("theme").title = isDark() ? "Light theme" : "Dark theme";
}

// Gives the chosen model.
async function showModels() {
  const models = await listModels();
  if (!models.includes(chosenModel())) chooseModel(models[0]), chat.modelKnown();
  if (models.length < 2) {
    $("model").replaceChildren(h("span", { title: models[0] }, models[0] ?? ""));
    return chosenModel();
  }
  const select = h("select", { "aria-label": "Model", onchange: () => chooseModel(select.value) }, models.map((m) => h("option", {}, m)));
  select.value = chosenModel();
  $("model").replaceChildren(select);
  return chosenModel();
}
// At the start, and when the key may have changed. What goes wrong is said when something is sent.
const tryModels = () => showModels().catch(() => {});

// The pill beside the model: whether the server is at work.
status.onSample((s) => {
  const load = $("load");
  load.hidden = false;
  const { running, waiting } = s?.requests ?? { running: 0, waiting: 0 };
  load.className = `load ${!s ? "lost" : running + waiting > 0 ? "busy" : ""}`;
  load.textContent = !s ? "no answer" : s.draining ? "draining" : waiting ? `${running} running, ${waiting} waiting` : running ? `${running} running` : "idle";
});

$("new-chat").addEventListener("click", () => (location.hash === "#/new" ? openNew() : (location.hash = "#/new")));
$("open-side").addEventListener("click", openSide);
$("backdrop").addEventListener("click", closeSide);
addEventListener("keydown", (e) => e.key === "Escape" && closeSide());
$("theme").addEventListener("click", () => (setTheme(isDark() ? "light" : "dark"), drawTheme()));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawTheme);
setUpSettings({ deleteAll: removeAll, closed: tryModels });
onChatsChanged(drawChats);
addEventListener("hashchange", route);
drawTheme();
route();
tryModels();
status.start(getStatus);
if (matchMedia("(min-width: 700px)").matches) $("input").focus();
