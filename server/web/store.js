// What the browser keeps: chats and settings in localStorage, the API key for this tab only.
import { toast } from "./dom.js";

const kIndex = "sluice.chats", kChat = "sluice.chat.", kSettings = "sluice.settings", kKey = "sluice.key";

function read(storage, key, otherwise) {
  try {
    return JSON.parse(storage.getItem(key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function write(storage, key, value) {
  try {
    storage.setItem(key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

let complained = false;
function complain() {
  if (!complained) toast("The browser's storage is full or blocked: chats are not kept. Delete old ones to make room.");
  complained = true;
}

// [{id, title, updated}], the newest first.
export const listChats = () => read(localStorage, kIndex, []).sort((a, b) => b.updated - a.updated);

export function newChat() {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return { id: Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join(""), title: "", updated: Date.now(), messages: [] };
}

export const loadChat = (id) => read(localStorage, kChat + id, null);

// The index is read anew each time: another tab may have written it.
export function saveChat(chat) {
  const index = listChats().filter((c) => c.id !== chat.id);
  index.unshift({ id: chat.id, title: chat.title, updated: chat.updated });
  if (!write(localStorage, kChat + chat.id, chat) || !write(localStorage, kIndex, index)) complain();
}

export function deleteChat(id) {
  write(localStorage, kIndex, listChats().filter((c) => c.id !== id));
  localStorage.removeItem(kChat + id);
  complained = false;
}

// f() when another tab changes the chats.
export function onChatsChanged(f) {
  addEventListener("storage", (e) => {
    if (e.key === kIndex || e.key === null) f();
  });
}

export const loadSettings = () => read(localStorage, kSettings, {});
export const saveSettings = (settings) => write(localStorage, kSettings, settings) || complain();

export const apiKey = () => read(sessionStorage, kKey, "");
export const setApiKey = (key) => write(sessionStorage, kKey, key);

export const theme = () => document.documentElement.dataset.theme;
export function setTheme(name) {
  document.documentElement.dataset.theme = name;
  try {
    localStorage.setItem("sluice.theme", name);
  } catch {
    // It holds until the page is left.
  }
}
