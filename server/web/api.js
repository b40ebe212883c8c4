// The server's API, as any client would call it. Paths are relative, so that the page works behind a proxy's prefix.
import { apiKey } from "./store.js";

// What went wrong, in words that say what to do. kind: "key", "busy", "long", "request", "server", "network", "cut".
export class ApiError extends Error {
  constructor(kind, message, advice, retryAfter = 0) {
    super(message);
    Object.assign(this, { kind, advice, retryAfter });
  }
}

function headers(more) {
  const key = apiKey();
  return key ? { ...more, Authorization: `Bearer ${key}` } : { ...more };
}

function errorOf(status, message, retryAfter) {
  if (status === 401 || status === 403) {
    return new ApiError("key", apiKey() ? "The server does not accept this API key." : "The server asks for an API key.",
                        "Whoever runs the server has one. It is kept in this tab only.");
  }
  if (status === 429 || status === 503) {
    return new ApiError("busy", status === 429 ? "The server is busy." : message || "The server takes no requests now.",
                        "Try again in a moment.", retryAfter || 2);
  }
  if (status === 413 || /context|too long|too many tokens/i.test(message)) {
    return new ApiError("long", message || "The conversation is too long.", "Start a new chat, or edit an earlier message to shorten it.");
  }
  if (status >= 500) return new ApiError("server", message || `The server failed (${status}).`, "Try again. If it stays, look into the server's log.");
  return new ApiError("request", message || `The server refused the request (${status}).`, "Check the settings, or edit the message.");
}

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers(options.headers) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("network", "The server cannot be reached.", "Is it still running? Then try again.");
  }
  if (response.ok) return response;
  const body = await response.text().catch(() => "");
  let message = body.slice(0, 300);
  try {
    const error = JSON.parse(body).error;
    message = typeof error === "string" ? error : error.message;
  } catch {
    // Not OpenAI's shape: the text as it is, unless it is a proxy's page.
    if (message.startsWith("<")) message = "";
  }
  throw errorOf(response.status, message, Number(response.headers.get("Retry-After")));
}

export const listModels = async () => (await (await call("v1/models")).json()).data.map((m) => m.id);
export const getStatus = async () => (await call("status.json", { cache: "no-store" })).json();

// The data of each server-sent event in turn.
async function* events(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "", data = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
      const lines = rest.split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
        else if (line === "" && data.length) {
          yield data.join("\n");
          data = [];
        }
      }
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

// Calls on.reasoning(text), on.text(text), on.toolCall(index, {id, name, arguments}) as the answer comes; returns {finish, usage}.
export async function streamChat(request, on, signal) {
  const response = await call("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
    body: JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  const result = { finish: null, usage: null };
  try {
    for await (const data of events(response.body)) {
      if (data === "[DONE]") return result;
      take(JSON.parse(data), on, result);
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof ApiError) throw error;
    throw new ApiError("cut", "The connection broke off.", "What came is kept. Try again for a whole answer.");
  }
  if (!result.finish) throw new ApiError("cut", "The answer broke off.", "What came is kept. Try again for a whole answer.");
  return result;
}

function take(chunk, on, result) {
  if (chunk.error) throw errorOf(Number(chunk.error.code) || 500, chunk.error.message, 0);
  if (chunk.usage) result.usage = chunk.usage;
  const choice = chunk.choices?.[0];
  if (!choice) return;
  const delta = choice.delta ?? {};
  const reasoning = delta.reasoning_content ?? delta.reasoning;  // servers send either or both
  if (reasoning) on.reasoning(reasoning);
  if (delta.content) on.text(delta.content);
  for (const call of delta.tool_calls ?? []) {
    on.toolCall(call.index ?? 0, { id: call.id, name: call.function?.name ?? "", arguments: call.function?.arguments ?? "" });
  }
  if (choice.finish_reason) result.finish = choice.finish_reason;
}
