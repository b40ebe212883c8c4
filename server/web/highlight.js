// Light syntax colouring, line by line, so that code can be coloured while it comes. It knows comments, strings, numbers, keywords
// and calls: enough to read by, and never wrong enough to mislead.

const words = (text) => new Set(text.split(" "));
const kCpp = words("alignas alignof asm auto bool break case catch char class concept const consteval constexpr const_cast continue " +
  "co_await co_return co_yield decltype default delete do double dynamic_cast else enum explicit export extern false float for friend " +
  "goto if inline int long mutable namespace new noexcept nullptr operator private protected public register reinterpret_cast requires " +
  "return short signed sizeof static static_assert static_cast struct switch template this throw true try typedef typename union " +
  "unsigned using virtual void volatile while __global__ __device__ __shared__ __host__ #include #define #if #ifdef #ifndef #else " +
  "#endif #pragma #error");
const kJs = words("abstract any as async await boolean break case catch class const continue debugger declare default delete do else " +
  "enum export extends false finally for from function get if implements import in infer instanceof interface is keyof let namespace " +
  "never new null number of private protected public readonly return set static string super switch this throw true try type typeof " +
  "undefined unknown var void while with yield");
const kPython = words("and as assert async await break case class continue def del elif else except False finally for from global if " +
  "import in is lambda match None nonlocal not or pass raise return self True try while with yield");
const kRust = words("as async await break const continue crate dyn else enum extern false fn for if impl in let loop match mod move mut " +
  "pub ref return self Self static struct super trait true type unsafe use where while bool char f32 f64 i8 i16 i32 i64 isize str u8 " +
  "u16 u32 u64 usize String Vec Option Result");
const kGo = words("any bool break byte case chan const continue default defer else error fallthrough false float32 float64 for func go " +
  "goto if import int int32 int64 interface iota map nil package range return rune select string struct switch true type uint uint64 var");
const kJava = words("abstract assert async await base bool boolean break byte case catch char class const continue data default do double " +
  "else enum extends false final finally float for foreach fun func get guard if implements import in instanceof int interface internal " +
  "is let long namespace native new nil null object open operator override package private protected public readonly record return " +
  "sealed set short static string struct super switch synchronized this throw throws transient true try typealias using val var virtual " +
  "void volatile when where while yield");
const kShell = words("case do done elif else esac export fi for function if in local return set source then unset until while alias cd " +
  "echo exit sudo");
const kSql = words("add all alter and as asc begin between by case cast commit count create cross default delete desc distinct drop else " +
  "end exists foreign from full group having if in index inner insert into is join key left like limit not null offset on or order " +
  "outer over partition primary references right rollback select set table then union unique update using values view when where with");
const kLua = words("and break do else elseif end false for function goto if in local nil not or repeat return then true until while " +
  "begin class def elsif module rescue require unless yield self");
const kNone = new Set();

// comment: what starts one to the line's end; block: [open, close] of longer ones; quotes; long: quotes that span lines.
const kC = { comment: ["//"], block: ["/*", "*/"], quotes: "\"'" };
const kHash = { comment: ["#"], quotes: "\"'" };
const kLanguages = {
  cpp: { ...kC, words: kCpp },
  js: { ...kC, words: kJs, long: ["`"] },
  rust: { ...kC, quotes: '"', words: kRust },
  go: { ...kC, words: kGo, long: ["`"] },
  java: { ...kC, words: kJava, long: ['"""'] },
  python: { ...kHash, words: kPython, long: ['"""', "'''"] },
  shell: { ...kHash, words: kShell },
  yaml: { ...kHash, words: words("true false null yes no"), keys: /^\s*(?:- )?[\w.-]+(?=:(\s|$))/ },
  toml: { ...kHash, words: words("true false"), keys: /^\s*[\w.-]+(?=\s*=)|^\s*\[.*\]/ },
  json: { comment: ["//"], quotes: '"', words: words("true false null"), keys: /^\s*"(?:[^"\\]|\\.)*"(?=\s*:)/ },
  sql: { comment: ["--"], block: ["/*", "*/"], quotes: "'\"", words: kSql, ignoreCase: true },
  lua: { comment: ["--"], quotes: "\"'", words: kLua },
  ruby: { ...kHash, words: kLua },
  css: { comment: [], block: ["/*", "*/"], quotes: "\"'", words: kNone, keys: /^\s*[\w-]+(?=\s*:[^{]*$)/ },
  html: { comment: [], block: ["<!--", "-->"], quotes: '"', words: kNone, tags: true },
  diff: { diff: true },
};
const kAliases = {
  c: "cpp", "c++": "cpp", cc: "cpp", h: "cpp", hpp: "cpp", cuda: "cpp", cu: "cpp", javascript: "js", jsx: "js", ts: "js", tsx: "js",
  typescript: "js", mjs: "js", rs: "rust", golang: "go", kotlin: "java", kt: "java", swift: "java", cs: "java", csharp: "java", "c#": "java",
  scala: "java", dart: "java", py: "python", python3: "python", sh: "shell", bash: "shell", zsh: "shell", console: "shell", makefile: "shell",
  dockerfile: "shell", cmake: "shell", yml: "yaml", ini: "toml", jsonc: "json", json5: "json", rb: "ruby", xml: "html", svg: "html",
  vue: "html", scss: "css", less: "css", patch: "diff",
};

export function languageOf(name) {
  const key = name.toLowerCase();
  return kLanguages[kAliases[key] ?? key] ?? null;
}

const kWord = /#?[\p{L}_$][\p{L}\p{N}_$]*/uy, kNumber = /(?:0[xXbB][\da-fA-F_]+|\d[\d_]*(?:\.\d[\d_]*)?(?:[eE][+-]?\d+)?)\w*/y;
const kTag = /<\/?[\w:-]+|\/?>/y;

function startsAny(line, at, starts) {
  for (const s of starts ?? []) if (line.startsWith(s, at)) return s;
  return null;
}

// The end of a string that starts before `at`, or the line's length.
function stringEnd(line, at, quote) {
  for (let i = at; i < line.length; ++i) {
    if (line[i] === "\\") ++i;
    else if (line.startsWith(quote, i)) return i + quote.length;
  }
  return line.length;
}

function diffLine(line) {
  const kind = line.startsWith("@@") ? "function" : line[0] === "+" ? "added" : line[0] === "-" ? "removed" : "";
  return [[kind, line]];
}

// Parts [kind, text] of a line. `state.until` is what ends a comment or string of the lines before, `state.kind` what it is.
export function highlightLine(language, line, state) {
  if (!language || line.length > 2000) return [["", line]];
  if (language.diff) return diffLine(line);
  const parts = [];
  const push = (kind, text) => text && parts.push([kind, text]);
  const match = (pattern, at) => {
    pattern.lastIndex = at;
    return pattern.exec(line)?.[0] ?? null;
  };
  // What goes on until a mark that may be on a later line.
  const span = (start, from, kind, until) => {
    const found = kind === "comment" ? line.indexOf(until, from) : stringEnd(line, from, until) - until.length;
    const ends = found >= from && line.startsWith(until, found);
    state.until = ends ? null : until, state.kind = kind;
    const end = ends ? found + until.length : line.length;
    push(kind, line.slice(start, end));
    return end;
  };

  let i = 0, plain = 0;
  if (state.until) i = plain = span(0, 0, state.kind, state.until);
  else if (language.keys) {
    const key = language.keys.exec(line)?.[0] ?? "";
    push("key", key);
    i = plain = key.length;
  }
  while (i < line.length) {
    const c = line[i];
    let kind = null, end = i + 1, open;
    if (language.block && line.startsWith(language.block[0], i)) {
      push("", line.slice(plain, i));
      i = plain = span(i, i + language.block[0].length, "comment", language.block[1]);
      continue;
    }
    if ((open = startsAny(line, i, language.long))) {
      push("", line.slice(plain, i));
      i = plain = span(i, i + open.length, "string", open);
      continue;
    }
    if (startsAny(line, i, language.comment) && (c !== "#" || i === 0 || /\s/.test(line[i - 1]))) kind = "comment", end = line.length;
    else if (language.quotes.includes(c)) kind = "string", end = stringEnd(line, i + 1, c);
    else if (language.tags && (open = match(kTag, i))) kind = "keyword", end = i + open.length;
    else if (c >= "0" && c <= "9" && (open = match(kNumber, i))) kind = "number", end = i + open.length;
    else if ((open = match(kWord, i))) {
      end = i + open.length;
      if (language.words.has(language.ignoreCase ? open.toLowerCase() : open)) kind = "keyword";
      else if (line[end] === "(") kind = "function";
    }
    if (kind) {
      push("", line.slice(plain, i));
      push(kind, line.slice(i, end));
      plain = end;
    }
    i = end;
  }
  push("", line.slice(plain));
  return parts;
}
