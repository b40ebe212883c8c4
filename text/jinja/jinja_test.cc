// Templates against what Jinja 3.1.6 makes of them (tools/make_jinja_cases.py), limits, and marks.
#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "base/clock.h"
#include "io/json.h"
#include "text/jinja/run.h"

namespace sluice::jinja {
namespace {

boost::json::value read_cases() {
  auto text = read_small_file(SLUICE_TEST_DATA "/jinja_cases.json", size_t(16) << 20);
  EXPECT_TRUE(text.ok()) << text.status().to_string();
  auto json = parse_json(*text, "jinja_cases.json");
  EXPECT_TRUE(json.ok()) << json.status().to_string();
  return std::move(json).value();
}

Result<Rendering> render(const std::string& source, const boost::json::object& variables = {}, const Limits& limits = {}) {
  auto parsed = Template::parse(source);
  if (!parsed.ok()) return parsed.status();
  std::vector<Variable> list;
  for (const auto& [key, value] : variables) list.push_back({key, &value, false});
  return parsed->render(list, limits);
}

std::string error_of(const std::string& source, const boost::json::object& variables = {}) {
  const auto r = render(source, variables);
  return r.ok() ? "no error: " + r->text : r.status().message();
}

TEST(Jinja, AgreesWithJinja) {
  const boost::json::value cases = read_cases();
  const auto& variables = cases.at("variables").as_object();
  ASSERT_GT(cases.at("cases").as_array().size(), 500u);
  for (const auto& c : cases.at("cases").as_array()) {
    const std::string source(c.at("template").as_string());
    const auto r = render(source, variables);
    if (c.as_object().contains("error")) {
      EXPECT_FALSE(r.ok()) << source << " gave " << r->text;
    } else {
      EXPECT_TRUE(r.ok()) << source << ": " << r.status().message();
      EXPECT_EQ(r.ok() ? r->text : "", c.at("output").as_string().c_str()) << source;
    }
  }
}

TEST(Jinja, ErrorsNameTheLineAndTheCause) {
  EXPECT_EQ(error_of("a\n{{ x.y }}"), "line 2: 'x' is undefined");
  EXPECT_EQ(error_of("{{ s | shout }}"), "line 1: no filter is named 'shout'");
  EXPECT_EQ(error_of("{% if no %}{{ s | shout }}{% endif %}"), "line 1: no filter is named 'shout'");
  EXPECT_EQ(error_of("{{ s is loud }}"), "line 1: no test is named 'loud'");
  EXPECT_EQ(error_of("{% include 'x' %}"), "line 1: unknown statement 'include'");
  EXPECT_EQ(error_of("\n\n{{ raise_exception('No messages.') }}"), "line 3: No messages.");
  EXPECT_EQ(error_of("{{ 1\n+\n'a' }}"), "line 3: '+' does not take a 'int' and a 'str'");
  EXPECT_EQ(error_of("{% for x in xs %}\n"), "line 1: unexpected the end of the template, expected 'else' or 'endfor'");
  EXPECT_EQ(error_of("{{ 9223372036854775807 + 1 }}"), "line 1: an integer leaves the range of 64 bits");
  EXPECT_EQ(error_of("{{ x }}", {{"x", uint64_t{1} << 63}}),
            "line 1: the integer 9223372036854775808 does not fit in 64 bits with sign");
  EXPECT_EQ(error_of("\xff"), "the template is not UTF-8");
  // One line of whole characters, whatever the template has there.
  EXPECT_EQ(error_of("{{ '\\u00e\u0185' }}"), "line 1: a string holds a bad escape, '00e\\xc6'");
  EXPECT_EQ(error_of("{{ \x01 }}"), "line 1: unexpected character '\\x01'");
  EXPECT_EQ(error_of("{{ a 'b\n' }}"), "line 1: unexpected 'b\\x0a', expected '}}'");
}

TEST(Jinja, ArithmeticWithoutAResultIsRefused) {
  const std::string range = "an integer leaves the range of 64 bits";
  const std::pair<const char*, std::string> cases[] = {
      {"-9223372036854775807 - 2", range},
      {"(-9223372036854775807 - 1) // -1", range},
      {"-(-9223372036854775807 - 1)", range},
      {"3 ** 99", range},
      {"0 ** -1", "zero cannot be raised to a negative power"},
      {"0.0 ** -1", "zero cannot be raised to a negative power"},
      {"(-1.5) ** 0.5", "a negative number raised to a fraction is complex"},
      {"1.5 / 0", "division by zero"},
      {"1.5 // 0", "division by zero"},
      {"1.5 % 0", "division by zero"},
      {"1 % 0", "division by zero"},
      {"true // 0", "division by zero"},
      {"[1] + (1,)", "'+' does not take a 'list' and a 'tuple'"},
      {"[1] * 1.5", "'*' does not take a 'list' and a 'float'"},
      {"x * [1]", "'x' is undefined"},
      {"[1] - x", "'x' is undefined"},
      {"-'a'", "what '-' takes must be an integer: got a 'str'"},
      {"(1, 2) < (1, 'a')", "cannot order a 'int' and a 'str'"},
      {"'1' | int(0, 1)", "base must be from 2 to 36"},
      {"'1' | int(0, 37)", "base must be from 2 to 36"},
  };
  for (const auto& [expression, message] : cases)
    EXPECT_EQ(error_of("{{ " + std::string(expression) + " }}"), "line 1: " + message) << expression;
}

TEST(Jinja, AttributeWalksFindNothing) {
  for (const char* walk : {"s.__class__", "s.__init__", "d.__class__", "xs.__len__", "ns.__dict__", "range.__globals__",
                           "m.__module__", "loop.__class__", "s['__class__']", "s|map(attribute='__class__')|first"}) {
    const std::string source =
        std::string("{% set ns = namespace() %}{% macro m() %}{% endmacro %}{% for i in [1] %}[{{ ") + walk + " }}]{% endfor %}";
    const auto r = render(source, {{"s", "x"}, {"d", boost::json::object()}, {"xs", boost::json::array()}});
    ASSERT_TRUE(r.ok()) << walk << ": " << r.status().message();
    EXPECT_EQ(r->text, "[]") << walk;
  }
}

std::string repeated(const std::string& s, size_t n) {
  std::string out;
  for (size_t i = 0; i < n; ++i) out += s;
  return out;
}

struct Hostile {
  const char* name;
  std::string source;
};

std::vector<Hostile> hostile_templates() {
  const std::string forever = "{% for a in range(100000) %}{% for b in range(100000) %}", ends = "{% endfor %}{% endfor %}";
  const std::string loop = "{% for a in range(100000) %}", end = "{% endfor %}";
  const std::string twice = "{% set ns = namespace(s='ab', l=[1]) %}{% for a in range(99) %}";
  return {
      {"nested loops", forever + ends},
      {"printing", forever + "x" + ends},
      {"range", "{{ range(10**9) }}"},
      {"doubled text", twice + "{% set ns.s = ns.s + ns.s %}" + end},
      {"doubled by ~", twice + "{% set ns.s = ns.s ~ ns.s %}" + end},
      {"doubled by replace", twice + "{% set ns.s = ns.s | replace('a', 'aa') %}" + end},
      {"doubled by join", twice + "{% set ns.s = [ns.s, ns.s] | join %}" + end},
      {"doubled by tojson", twice + "{% set ns.s = ns.s | tojson | tojson %}" + end},
      {"doubled by format", twice + "{% set ns.s = [ns.s, ns.s] | string %}" + end},
      {"doubled by capture", twice + "{% set t %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = t %}" + end},
      {"doubled by indent", twice + "{% set ns.s = (ns.s ~ '\\n') | indent(999, true) ~ ns.s %}" + end},
      {"doubled list", twice + "{% set ns.l = ns.l + ns.l %}" + end},
      {"doubled tree", twice + "{% set ns.l = [ns.l, ns.l] %}" + end + "{{ ns.l }}"},
      {"doubled dict", twice + "{% set ns.l = {'a': ns.l, 'b': ns.l} %}" + end + "{{ ns.l | tojson }}"},
      {"repeated text", "{{ 'a' * 10**9 }}"},
      {"repeated list", "{{ [1] * 10**9 }}"},
      {"repeated nothing", "{{ '' * 10**18 }}{{ [] * 10**18 }}{{ 1 / 0 }}"},
      {"recursion", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"},
      {"recursion through caller", "{% macro m() %}{{ caller }}{% call m() %}{% endcall %}{% endmacro %}{{ m() }}"},
      {"branching recursion", "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(90) }}"},
      {"brackets", "{{ " + repeated("(", 100000) + "1" + repeated(")", 100000) + " }}"},
      {"lists", "{{ " + repeated("[", 100000) + repeated("]", 100000) + " }}"},
      {"nots", "{{ " + repeated("not ", 100000) + "1 }}"},
      {"signs", "{{ " + repeated("-", 100000) + "1 }}"},
      {"conditions", "{{ " + repeated("1 if x else ", 100000) + "1 }}"},
      {"filters in a row", "{{ s" + repeated("|trim", 100000) + " }}"},
      {"attributes in a row", "{{ s" + repeated(".a", 100000) + " }}"},
      {"calls in a row", "{{ s" + repeated("()", 100000) + " }}"},
      {"blocks", repeated("{% if true %}", 100000)},
      {"targets", "{% set " + repeated("(", 100000) + "a" + repeated(")", 100000) + " = 1 %}"},
      {"nested list", "{% set ns = namespace(l=[]) %}" + loop + "{% set ns.l = [ns.l] %}" + end + "{{ ns.l }}"},
      {"nested list, JSON", "{% set ns = namespace(l=[]) %}" + loop + "{% set ns.l = [ns.l] %}" + end + "{{ ns.l | tojson }}"},
      {"nested list, equality", "{% set ns = namespace(l=[], m=[]) %}" + loop + "{% set ns.l = [ns.l] %}{% set ns.m = [ns.m] %}" +
                                    end + "{{ ns.l == ns.m }}"},
      {"list in itself", "{% set l = [] %}{% set _ = l.append(l) %}{{ l | tojson }}"},
      {"sorting", "{% set l = (range(100000) | list) * 15 %}" + loop + "{{ l | sort(reverse=true) | first }}" + end},
      {"sorting by attribute", "{% set l = range(100000) | map('string') | list %}" + loop + "{{ l | sort | first }}" + end},
      {"unique", "{{ range(100000) | unique | list }}"},
      {"search", "{% set s = 'a' * 10000000 %}" + loop + "{{ s.count('b') }}" + end},
      {"index from the end", "{% set s = '\xC3\xA9' * 1000000 %}" + loop + "{{ s[-1] }}" + end},
      {"split", "{{ ('a,' * 10000000).split(',') | length }}"},
      {"characters", "{{ ('a' * 10000000) | list | length }}"},
      {"macros", loop + "{% macro m() %}{% endmacro %}" + end + forever + ends},
      {"appending", "{% set l = [1] %}" + forever + "{% set _ = l.append(l) %}" + ends},
      {"spread text", loop + "{% set s = 'x' * 60000000 %}" + end},
      {"raise", "{{ raise_exception('x') }}"},
  };
}

TEST(Jinja, HostileTemplatesAreRefusedInTime) {
  for (const auto& [name, source] : hostile_templates()) {
    SCOPED_TRACE(name);
    const double begin = now_seconds();
    const auto r = render(source, {{"s", "text"}}, {.seconds = 0.1});
    const double seconds = now_seconds() - begin;
    EXPECT_FALSE(r.ok());
    EXPECT_TRUE(r.status().message().starts_with("line ")) << r.status().message();
    EXPECT_LT(r.status().message().size(), 200u);
    EXPECT_LT(seconds, 5.0);  // the limit is 0.1 s; the rest is for a sanitizer on a busy machine
  }
}

TEST(Jinja, EachLimitSaysSo) {
  const auto message = [](const std::string& source, Limits limits) {
    const auto r = render(source, {}, limits);
    EXPECT_EQ(r.status().code(), Code::kResourceExhausted) << source;
    return r.status().message();
  };
  EXPECT_EQ(message("{% for a in range(9) %}\n{{ a }}{% endfor %}", {.steps = 20}), "line 2: rendering took more than 20 steps");
  EXPECT_EQ(message("{{ 'ab' * 9 }}", {.output_extra = 17}), "line 1: the output is longer than 17 bytes");
  EXPECT_EQ(message("{% set a = 'ab' * 2500 %}{{ a ~ a }}", {.memory = 9999}),
            "line 1: rendering needs more than 9999 bytes of memory");
  EXPECT_EQ(message("{% for a in range(9999) %}{% for a in range(99) %}{% endfor %}{% endfor %}", {.seconds = 0.001}),
            "line 1: rendering took more than 1 ms");
  EXPECT_EQ(message("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", {}),
            "line 1: calls of macros are nested more than 100 deep");
  EXPECT_EQ(message("{{ 'ab' * 9999 }}", {.memory = 9999}), "line 1: repeating something 9999 times takes too much memory");
  EXPECT_EQ(message("{{ range(100001) }}", {}), "line 1: range() of more than 100000 items");
  EXPECT_TRUE(render("{{ 'ab' * 9 }}", {}, {.output_extra = 18}).ok());
}

TEST(Jinja, OutputMayBeEightTimesTheInput) {
  const boost::json::object variables = {{"s", std::string(100'000, 'x')}};
  EXPECT_TRUE(render("{{ s * 8 }}", variables).ok());
  EXPECT_FALSE(render("{{ s * 9 }}", variables).ok());
}

TEST(Jinja, TimeOfDay) {
  const auto r = render("{{ strftime_now('%Y-%m') }}");
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r->text.size(), 7u);
  EXPECT_EQ(r->text.substr(0, 2), "20");
}

// The output with what is not trusted in brackets; `u` is the request's <U>, `l` its list ["<a>", "<b>"].
std::string marked(const std::string& source) {
  const boost::json::object variables = {{"u", "<U>"},
                                         {"l", {"<a>", "<b>"}},
                                         {"d", {{"k", "<v>"}}},
                                         {"n", 5},
                                         {"messages", {{{"role", "user"}, {"content", " <c> "}}}}};
  const auto r = render(source, variables);
  EXPECT_TRUE(r.ok()) << source << ": " << r.status().message();
  if (!r.ok()) return {};
  std::string out;
  size_t end = 0;
  for (const auto& run : r->runs) {
    EXPECT_EQ(run.begin, end) << source;
    EXPECT_LT(run.begin, run.end) << source;
    const std::string text = r->text.substr(run.begin, run.end - run.begin);
    out += run.trusted ? text : "[" + text + "]";
    end = run.end;
  }
  EXPECT_EQ(end, r->text.size()) << source;
  return out;
}

TEST(Jinja, MarksFollowTheText) {
  EXPECT_EQ(marked("a{{ u }}b"), "a[<U>]b");
  EXPECT_EQ(marked("{{ 'a' + u + 'b' }}"), "a[<U>]b");
  EXPECT_EQ(marked("{{ 'a' ~ u ~ n }}"), "a[<U>]5");
  EXPECT_EQ(marked("{{ ('a' ~ u ~ 'b')[1:3] }}"), "[<U]");
  EXPECT_EQ(marked("{{ ('a' ~ u ~ 'b')[2:] }}"), "[U>]b");
  EXPECT_EQ(marked("{{ ('a' ~ u)[::-1] }}"), "[>U<]a");
  EXPECT_EQ(marked("{{ ('ab' ~ u)[1] }}{{ ('ab' ~ u)[-1] }}"), "b[>]");
  EXPECT_EQ(marked("{{ (' a' ~ u ~ ' ') | trim }}"), "a[<U>]");
  EXPECT_EQ(marked("{{ ('xa' ~ u).lstrip('x') }}"), "a[<U>]");
  EXPECT_EQ(marked("{{ ('a,' ~ u ~ ',b').split(',') | join('+') }}"), "a+[<U>]+b");
  EXPECT_EQ(marked("{{ 'axb' | replace('x', u) }}"), "a[<U>]b");
  EXPECT_EQ(marked("{{ ('a' ~ u).replace('U', 'x') }}"), "a[<]x[>]");
  EXPECT_EQ(marked("{{ l | join(', ') }}"), "[<a>], [<b>]");
  EXPECT_EQ(marked("{{ ', '.join(l) }}"), "[<a>], [<b>]");
  EXPECT_EQ(marked("{{ u | join('-') }}"), "[<]-[U]-[>]");
  EXPECT_EQ(marked("{{ u * 2 }}{{ 'a' * 2 }}"), "[<U><U>]aa");
  EXPECT_EQ(marked("{{ ('a\\n' ~ u) | indent(1) }}"), "a\n [<U>]");
  EXPECT_EQ(marked("{% set x %}a{{ u }}b{% endset %}{{ x }}"), "a[<U>]b");
  EXPECT_EQ(marked("{% macro m(x) %}a{{ x }}{% endmacro %}{{ m(u) }}{{ m('b') }}"), "a[<U>]ab");
  EXPECT_EQ(marked("{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{% endfor %}"), "<[user]>[<c>]");
  EXPECT_EQ(marked("{% for k, v in d | items %}{{ k }}={{ v }}{% endfor %}"), "[k]=[<v>]");
  EXPECT_EQ(marked("{{ u.partition('U')[2] }}{{ u if u else 'x' }}{{ u or 'x' }}{{ u | default('x') }}"), "[><U><U><U>]");
}

TEST(Jinja, ComputedTextIsTrustedOnlyIfAllOfItIs) {
  EXPECT_EQ(marked("{{ 'a' | upper }}{{ ('a' ~ u) | upper }}"), "A[A<U>]");
  EXPECT_EQ(marked("{{ ('a' ~ u).lower() }}{{ ('a' ~ u) | capitalize }}{{ ('a' ~ u) | title }}"), "[a<u>A<u>A<U>]");
  EXPECT_EQ(marked("{{ {'a': 1} | tojson }}{{ {'a': u} | tojson }}"), "{\"a\": 1}[{\"a\": \"<U>\"}]");
  EXPECT_EQ(marked("{{ d | tojson }}"), "[{\"k\": \"<v>\"}]");
  EXPECT_EQ(marked("{{ ['a', 1] }}{{ ['a', u] }}"), "['a', 1][['a', '<U>']]");
  EXPECT_EQ(marked("{{ ('a' ~ u) | e }}"), "[a&lt;U&gt;]");
  EXPECT_EQ(marked("{{ u | string }}{{ u | safe }}{{ u | list | last }}"), "[<U><U>>]");
  EXPECT_EQ(marked("{{ l | sort | first }}{{ l | max }}{{ l | map('upper') | first }}{{ l | reverse | first }}"), "[<a><b><A><b>]");
  EXPECT_EQ(marked("{{ n }}{{ n + 1 }}{{ n > 1 }}"), "56True");
  EXPECT_EQ(marked(""), "");
}

TEST(Jinja, OneTemplateRendersManyTimes) {
  const auto t = Template::parse("{% set l = [] %}{% set _ = l.append(1) %}{{ l }}{{ 'a' ~ x }}");
  ASSERT_TRUE(t.ok());
  for (int i = 0; i < 3; ++i) {
    const boost::json::value x = i;
    const auto r = t->render({{"x", &x, false}});
    ASSERT_TRUE(r.ok());
    EXPECT_EQ(r->text, "[1]a" + std::to_string(i));
  }
}

}  // namespace
}  // namespace sluice::jinja
