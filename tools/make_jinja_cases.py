#!/usr/bin/env python3
"""Writes tests/data/jinja_cases.json: small templates and what Jinja makes of them.

    pip install jinja2==3.1.6
    tools/make_jinja_cases.py tests/data/jinja_cases.json

The environment is the one in which transformers renders chat templates (sandboxed, trim_blocks, lstrip_blocks, loop controls, tojson
without escaping, raise_exception), but for list.append, which its immutable sandbox refuses and Sluice allows. Each case is
{"template", "output"} or {"template", "error": true}; all see the same "variables". The lists below hold one template an entry;
in EXPRESSIONS without the braces.
"""

import json
import sys

import jinja2
from jinja2.sandbox import SandboxedEnvironment

VARIABLES = {
    "s": "Hello, World",
    "blank": "  a b \n",
    "u": "\u00e9t\u00e9 \u65e5\u672c\u8a9e \U0001f600 stra\u00dfe",
    "empty": "",
    "i": 7,
    "neg": -3,
    "f": 2.5,
    "big": 1e20,
    "yes": True,
    "no": False,
    "nil": None,
    "xs": [3, 1, 2],
    "words": ["pear", "Apple", "fig", "apple"],
    "mixed": [1, "two", 3.0, None, True, [1], {"a": 1}],
    "d": {"b": 2, "a": 1, "items": "key", "n": {"x": [10, 20]}},
    "people": [
        {"name": "Ann", "age": 30, "admin": True, "tags": ["x"]},
        {"name": "bob", "age": 25, "admin": False, "tags": []},
        {"name": "Cy", "age": 30, "tags": ["y", "z"]},
    ],
    "quotes": 'it\'s "so" \\ \t\u0001</tag>&',
    "lines": "one\ntwo\r\n\nthree",
}

EXPRESSIONS = """
1 + 2 * 3|abs
(1 + 2) * 3
7 // 2
-7 // 2
7 // -2
-7 % 3
7 % -3
7.5 // 2
-7.5 % 2
7 / 2
6 / 2
2 ** 10
2 ** -1
2 ** 0.5
-2 ** 2
2 ** 3 ** 2
1e3
1_000
0.1 + 0.2
1e16
123456789012345680.0
1e-5
0.0001
-0.0
big
3.0
f * 2
i / 0
i // 0
i % 0
1 / 3
100000 * 100000
true + true
-yes
+i
"a" + "b"
"a" ~ 1 ~ none ~ true ~ 1.5 ~ [1, 'x']
"a" + 1
"ab" * 3
3 * "ab"
"ab" * 0
"ab" * -1
[1, 2] * 2
[1] + [2, 3]
(1, 2) + (3,)
[1] + (2,)
"a" "b" 'c'
"tab\\there\\n\\x41\\u00e9\\U0001F600\\'\\"\\\\ \\q \\101"
'it''s'
1 < 2 < 3
1 < 3 < 2
3 > 2 >= 2 != 1
1 == 1.0
1 == true
"1" == 1
"a" < "b"
"a" < 1
[1, 2] < [1, 3]
[1, 2] == [1, 2]
(1, 2) == [1, 2]
{"a": 1} == {"a": 1.0}
none == none
none < 1
missing == missing
missing == none
missing == ""
"lo" in s
"z" not in s
1 in xs
"b" in d
"zz" in d
2 in [1.0, 2.0]
none in mixed
1 in "123"
1 in missing
1 in 5
not true
not not 1
true and "x"
"" or "y"
0 or none
0 and missing.attr
1 or missing.attr
not 1 == 2
1 if true else 2
1 if false
1 if false else 2 if false else 3
"x" if missing else "y"
missing
missing.attr
missing["a"]
missing()
missing + 1
missing ~ "x"
missing|length
missing|upper
-missing
d.b
d["a"]
d.items is callable
d["items"]
d.nothing
d.nothing.more
d.n.x[1]
d.n.x.0
d["n"]["x"][-1]
d.n.x[5]
d.n.x["a"]
xs[0]
xs[-1]
xs[-9]
xs[true]
xs.0
s[0]
s[-1]
s[100]
s["x"]
u[1]
u[4:7]
u[-1]
u[8]
u|length
nil.x
nil["x"]
i.x
s.__class__
s.__class__.__mro__
d.__init__
xs.__len__
s[1:4]
s[:5]
s[7:]
s[-5:]
s[::-1]
s[::2]
s[10:2:-3]
s[5:2]
s[:]
s[100:]
s[-100:3]
s[::0]
u[::-1]
xs[::-1]
xs[1:]
xs[:-1]
xs[5:]
xs[-2:]
xs[::2]
(1, 2, 3)[1:]
[][::-1]
d[1:2]
[1, [2, "x"], {"k": none}, (1,), ()]
{"a": 1, 2: "b", none: true}
{"a": 1, "a": 2}
("x")
("x",)
1, 2
[1, 2, ]
[]
{}
mixed
quotes
[quotes]
["it's", 'say "x"', "\\n"]
s|upper
s|lower
u|upper
u|title
"hello world-foo (bar) [baz] o'neil"|title
"hello world-foo o'neil 3x"|capitalize
"hello WORLD o'neil x3y"|title
"hello WORLD o'neil x3y".title()
"\\u00c9COLE"|capitalize
blank|trim
blank|trim ~ "|"
"xxaxx"|trim("x")
"xyaxy"|trim(chars="yx")
"\\u00a0a\\u2003"|trim
blank.strip()
"[" ~ blank.lstrip() ~ "]"
"[" ~ blank.rstrip() ~ "]"
"[" ~ "\\n\\na\\n".lstrip("\\n") ~ "]"
"[" ~ "\\n\\na\\n".rstrip("\\n") ~ "]"
"xyaxy".strip("xy")
"a\\u00e9\\u00e9".rstrip("\\u00e9")
"a,b,,c".split(",")
"a,b,,c".split(",", 1)
"a,b,,c".rsplit(",", 1)
"a,b,,c".split(",", maxsplit=2)
" a  b c ".split()
" a  b c ".split(none, 1)
" a  b c ".rsplit(none, 1)
" a  b c ".rsplit()
"".split()
"".split(",")
"abc".split("")
"a</think>b</think>c".split("</think>")[-1]
"a<t>b".split("<t>")|first
"aaa".rsplit("aa")
lines.splitlines()
"".splitlines()
"a=b=c".partition("=")
"a=b=c".rpartition("=")
"abc".partition("=")
"abc".rpartition("=")
s.startswith("Hello")
s.startswith(("x", "H"))
s.endswith("d")
s.endswith("")
s.startswith(1)
"prefix-x".removeprefix("prefix-")
"x.txt".removesuffix(".txt")
s.replace("l", "L")
s.replace("l", "L", 1)
"abc".replace("", "-")
"a\\u00e9".replace("", "-")
"abc".replace("", "-", 2)
"".replace("", "x")
s|replace("o", "0")
s|replace("o", "0", 1)
5|replace(5, 6)
s.find("o")
s.find("zz")
s.rfind("o")
u.find("\\u65e5")
s.index("W")
s.index("zz")
s.count("l")
"aaa".count("aa")
"abc".count("")
"-".join(["a", "b"])
"-".join([1])
", ".join(d)
"abc".upper()
"ABC".lower()
"hELLO".capitalize()
"12".isdigit()
"".isdigit()
"ab".isalpha()
"a1".isalnum()
" ".isspace()
"ab".islower()
"AB".isupper()
"A1".isupper()
"1".isupper()
s.nothing
s.nothing()
d.get("a")
d.get("zz")
d.get("zz", 5)
d.keys()|list
d.values()|list
d.items()|list
d|items|list
missing|items|list
5|items|list
d.items()|length
d|length
d|list
d|first
d|last
d|dictsort
d|dictsort(reverse=true)
{"b": 1, "A": 2}|dictsort
{"b": 1, "A": 2}|dictsort(true)
{"b": 1, "A": 2}|dictsort(by="value")
xs|first
xs|last
[]|first
[]|last
s|first
u|last
s|length
xs|count
5|length
none|length
xs|join
xs|join(", ")
people|join(", ", attribute="name")
s|join("-")
missing|join(",")
mixed|join(",")
s|list
u|list
xs|reverse|list
s|reverse
u|reverse
xs|sort
xs|sort(reverse=true)
words|sort
words|sort(case_sensitive=true)
words|sort(reverse=true)
people|sort(attribute="age")|map(attribute="name")|list
people|sort(attribute="age,name")|map(attribute="name")|list
people|sort(attribute="age", reverse=true)|map(attribute="name")|list
[1, "a"]|sort
[]|sort
[[2, 1], [1, 3]]|sort
words|unique|list
words|unique(case_sensitive=true)|list
[1, 1.0, true, 2]|unique|list
people|unique(attribute="age")|map(attribute="name")|list
xs|min
xs|max
words|min
[]|max
people|max(attribute="age")
xs|sum
people|sum(attribute="age")
xs|sum(start=10)
[0.1, 0.2]|sum
words|map("upper")|list
words|map("replace", "p", "q")|list
people|map(attribute="name")|join(",")
people|map(attribute="admin")|list
people|map(attribute="admin", default="?")|list
people|map(attribute="tags.0", default="-")|list
xs|map("string")|join("/")
words|map("nothing")|list
[1, 0, 2, none]|select|list
xs|select("odd")|list
xs|reject("odd")|list
xs|select(">", 1)|list
xs|select("in", [1, 2])|list
people|selectattr("admin")|map(attribute="name")|list
people|rejectattr("admin")|map(attribute="name")|list
people|selectattr("age", "equalto", 30)|map(attribute="name")|list
people|selectattr("name", "in", ["bob"])|list|length
people|selectattr("admin", "defined")|list|length
people|selectattr("nothing")|list
people|selectattr("nothing", "undefined")|list|length
(people|selectattr("nothing")) is true
"yes" if people|selectattr("nothing") else "no"
"yes" if people|selectattr("nothing")|list else "no"
people|selectattr("admin")|length
s|string
5|string ~ "x"
none|string
"42"|int
" 42 "|int
"-42"|int
"+42"|int
"4.9"|int
"x"|int
"x"|int(9)
"x"|int(default=-1)
"ff"|int(0, 16)
"0xff"|int(0, 16)
4.9|int
-4.9|int
true|int
none|int
"1e3"|int
"4.5"|float
"x"|float
"x"|float(1.5)
3|float
none|float
true|float
neg|abs
-2.5|abs
true|abs
"x"|abs
2.5|round
3.5|round
2.675|round(2)
2.675|round(2, "ceil")
2.675|round(2, "floor")
2.1|round(0, "ceil")
42|round
1234.5|round(-2)
1234|round(-2)
-0.4|round
missing|default("x")
missing|d("x")
missing|default
""|default("x")
""|default("x", true)
none|default("x")
none|default("x", boolean=true)
0|d(5, true)
d.zz|default("q")
"<a href='x'>&\\"</a>"|e
"<b>"|escape ~ "x"
"<b>"|safe
lines|indent
lines|indent(2)
lines|indent(2, true)
lines|indent(2, first=true, blank=true)
lines|indent("> ")
"a\\nb\\n"|indent(1)
""|indent(2, true)
d|tojson
mixed|tojson
quotes|tojson
u|tojson
u|tojson(ensure_ascii=true)
d|tojson(indent=2)
[[], {}, [[]], {"a": []}]|tojson(indent=4)
people|tojson(indent=1)
d|tojson(sort_keys=true)
d|tojson(separators=(",", ":"))
d|tojson(indent=2, separators=(", ", " = "))
{1: 2, none: 3, true: 4, 1.5: 5}|tojson
(1, 2)|tojson
1e20|tojson
0.1|tojson
1e-7|tojson
missing|tojson
"\\u007f\\u0080\\u2028"|tojson
missing is defined
s is defined
d.zz is defined
d.a is defined and d.a
missing is undefined
nil is none
nil is not none
missing is none
s is string
i is string
i is number
f is number
yes is number
s is number
i is integer
yes is integer
f is integer
f is float
i is float
yes is boolean
i is boolean
d is mapping
xs is mapping
xs is iterable
s is iterable
d is iterable
i is iterable
missing is iterable
xs is sequence
s is sequence
d is sequence
i is sequence
(xs|map("string")) is sequence
(xs|map("string")) is iterable
yes is true
1 is true
no is false
0 is false
3 is odd
-3 is odd
4 is even
"x" is odd
9 is divisibleby 3
9 is divisibleby(2)
9 is not divisibleby 2
1 is eq 1
1 is equalto 1.0
1 is ne 2
1 is lt 2
1 is le 1
2 is gt 1
2 is ge 3
"a" is in "abc"
1 is in [2]
1 is not in [2]
"abc" is lower
"ABC" is upper
"aBc" is lower
range is callable
s is callable
s is sameas s
1 is sameas 1.0
"upper" is filter
"nothing" is filter
"odd" is test
s is string and i is integer or false
not s is string
s is string == true
1 is eq 1 is eq 1
range(5)|list
range(2, 5)|list
range(5, 2, -1)|list
range(0, 10, 3)|list
range(0)|list
range(1, 2, 0)|list
range(10 ** 9)|length
range(3)[1]
dict(a=1, b=2)
dict({"a": 1}, b=2)
dict([("a", 1)])
dict(d)|length
namespace(a=1).a
namespace({"a": 1}, b=2).b
joiner("x")()
raise_exception("stop here")
"%s"
xs|first|string|int + 1
(xs|length) - 1
xs|length - 1
-xs|first
d.n.x|sum / 2
(1, 2)|length
"a"|upper|lower|upper
s.split(", ")[1].lower()[0]
(s ~ "!").upper()
[x for x in xs]
s|nothing
s is nothing
1 +
(1
[1, 2
{"a" 1}
"open
1 2
a b
@
d.1a
x = 1
s|indent(4, blank=true)
s.upper(1)
s|upper(x=1)
s|replace('l')
s|replace('l', 'L', 1, 2)
s|replace('l', old='x')
d|tojson(separators=(',', ':'))
d|tojson(separators=(',', ':', ';'))
{1: 2, 1.5: 3, true: 4, none: 5}|tojson
{(1, 2): 3}|tojson
'\\b\\f\\n\\r\\t"\\\\/\\x7f\\x1f'|tojson
(1e200 * 1e200)|tojson
((1e200 * 1e200) - (1e200 * 1e200))|tojson
-(1e200 * 1e200)
-(1e200 * 1e200)|tojson
(1e200 * 1e200) - (1e200 * 1e200)
'+5'|int
'+-5'|int
'+'|int
'5x'|int
'0x1F'|int(0, 16)
'0X1f'|int(base=16)
'777'|int(0, 8)
'1e3'|int
'1e30'|float
'x'|float
5|int(base=1)
'11'|int(0, 2)
2.567|round(2, 'floor')
2.567|round(2, 'ceil')
2.567|round(2, 'up')
's'|round
''|default('x', true)
none|default('x')
dict(a=1, b=2)
dict([('a', 1), ['b', 2]])
dict([('a', 1, 2)])
dict(1, 2)
cycler()
joiner()()
joiner('-')()
-9 // 4
9 // -4
-9 % 4
9 % -4
9 % -1
9 // -1
-9.5 % 4
9.5 % -4
8.0 % 4
0 ** 0
0 ** 5
1 ** 100
(-1) ** 101
(-1) ** 100
0 ** -1
0.0 ** -1
(-2.0) ** 2
1 / 0
1 // 0
1 % 0
1.5 // 0
1.5 % 0
1 + true
true - 1
-true
-s
1.5 - 1
1.5 * 2
[1] + [2]
(1,) + (2,)
[1] + (2,)
'ab' * 3
3 * 'ab'
[1, 2] * 2
2 * [1]
'ab' * 1.5
nope + 1
1 + nope
1 < 1.5
2.5 <= 2.5
3 >= 2.5
'a' <= 'a'
'a' >= 'b'
1 < 'a'
[1, 2] < [1, 3]
[1, 2] < [1]
[1] < [1, 0]
{} < {}
nope < 1
1 < nope
((1e200 * 1e200) - (1e200 * 1e200)) <= 1
((1e200 * 1e200) - (1e200 * 1e200)) >= 1
((1e200 * 1e200) - (1e200 * 1e200)) < 1
((1e200 * 1e200) - (1e200 * 1e200)) > 1
1 <= ((1e200 * 1e200) - (1e200 * 1e200))
1 >= ((1e200 * 1e200) - (1e200 * 1e200))
((1e200 * 1e200) - (1e200 * 1e200)) == ((1e200 * 1e200) - (1e200 * 1e200))
[1, 2] == [1, 3]
[1] == [1, 2]
[1] == (1,)
{'a': 1} == {'a': 2}
{'a': 1} == {'b': 1}
{'a': 1} == {}
d == d
xs == xs
{'a': [1, {'b': none}]} == {'a': [1, {'b': none}]}
range == range
range == dict
5 in d
s[::0]
s[none]
xs['a']
d[1]
none.x
i.x
i[0]
nope()
s()
(1, 2).append(3)
[1].index(5)
d.copy()
'abc'.split('')
'abc'.rsplit('')
' a b  c'.split(none, 1)
' a b  c'.rsplit(none, 1)
' a b  c '.rsplit()
'abc'.partition('')
'abc'.rpartition('')
s.startswith(('x', 'Hell'))
s.startswith(('x', 'y'))
s.startswith(['Hello'])
s.removeprefix('x')
s.removesuffix('x')
s.removesuffix('World')
s.removeprefix('Hello')
s.replace('', '-')
s.count('')
'a1\\u00e9'.isalnum()
'a_'.isalnum()
'aBc'.islower()
'12'.islower()
'abc'.islower()
'AbC'.isupper()
'12'.isupper()
'ABC'.isupper()
'\\u00a0\\u2003\\u3000\\u1680\\u2028\\u2029\\u202f\\u205f\\x85\\x1c\\x1f\\t'.isspace()
'\\u00a0a\\u2003b\\u3000c\\u1680d\\u2028e\\u2029f\\u202fg\\u205fh\\x85i\\x1cj'.split()
'a\\nb\\rc\\r\\nd\\x0be\\x0cf\\x1cg\\x1dh\\x1ei\\x85j\\u2028k\\u2029l\\x1fm'.splitlines()
'a\\r'.splitlines()
'\\u00df'.upper()
'\\u00df'.capitalize()
'\\u00df'.title()
'x'.nothing()
people|map()|list
people|map(other=1)|list
people|map(attribute='admin', default='-')|list
people|selectattr()|list
people|selectattr('age', 'nothing')|list
people|selectattr('admin')|map(attribute='name')|list
xs|select|list
xs|reject|list
xs|select('nothing')|list
xs|select('divisibleby', 0)|list
d|dictsort(false, 'value')
d|dictsort(by='x')
xs|dictsort
people|map(attribute='tags.0')|list
'a-b (c) {d} [e] <f>'|title
true is true
1 is true
false is true
range is callable
joiner() is callable
namespace() is callable
s is callable
i is divisibleby(0)
i is divisibleby -1
d is sameas d
d is sameas {}
xs is sameas xs
xs is sameas [3, 1, 2]
'aBc' is lower
'12' is lower
5 is upper
1 in [2] is true
d is mapping
nope is mapping
5 is in s
nope is in xs
1_000
1_000.5
017
00
1E+3
1e-3
1.5e3
1.e5
1e
1e+
1e+x
1__0
1_
x.0.1
mixed.5.0
people.0.name
'a\\x41\\101\\7\\18\\u0041\\U00000041'
'\\x4'
'\\xzz'
'\\xAf\\xaF'
'\\U00110000'
)
]
{'a': 1, 'b': [1, {}]}
true and True or False or none or None
false
range(1, a=2, 3)
range(a=1, 2)
s is string is string
1 not in xs
xs not
'x' 'y'
foo
5()
'\\r\\x7f\\x01\\t'|list
['\\r\\x7f\\x01\\\\']
[(1e200 * 1e200), -(1e200 * 1e200), (1e200 * 1e200) - (1e200 * 1e200)]
-(true)
1.0|abs
""".strip("\n").split("\n")

TEMPLATES = [
    "",
    "plain",
    "plain\n",
    "plain\n\n",
    "a\r\nb\rc\n",
    "{{ s }}\n",
    "{{ s }}\n\nx",
    "{# c #}x",
    "a {# c #} b",
    "a {#- c -#} b",
    "a\n  {# c #}\nb",
    "{#-#}x {#+ y +#} z",
    "a\n  {% if true %}\n  b\n  {% endif %}\nc",
    "a\n  {%+ if true %}\n  b\n  {%+ endif %}\nc",
    "a\n  {% if true +%}\n  b\n  {% endif +%}\nc",
    "a\n  {%- if true -%}\n  b\n  {%- endif -%}\nc",
    "a {% if true %} b {% endif %} c",
    "  {{ 1 }}  {{- 2 -}}  {{ 3 }}",
    "  {% set x = 1 %}  {% set y = 2 %}  {{ x }}{{ y }}",
    "{% set x = 1 %}\n\n{{ x }}",
    "{%if true%}x{%endif%}",
    "{{'}}'}}{{ {'a': {'b': 1}}['a'] }}{{ {'a': {'b': 1}} }}",
    "{{ \"{{ %}\" }}{% if '%}' %}x{% endif %}",
    "{% raw %}{{ x }}{% if %}{% endraw %}",
    "a\n {% raw %}\n x {{ 1 }} \n {% endraw %}\nb",
    "a {%- raw -%} x {%- endraw -%} b",
    "a { b } % # {x} {",
    "{% for x in xs %}{{ x }},{% endfor %}",
    "{% for x in xs %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}|{% endfor %}",
    "{% for x in xs %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }};{% endfor %}",
    "{% for x in xs %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{% endfor %}",
    "{% for x in xs %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{% endfor %}",
    "{% for x in xs %}{% for y in 'ab' %}{{ loop.depth }}{{ loop.depth0 }}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}",
    "{% for x in xs if x > 1 %}{{ x }}{{ loop.index }}{{ loop.length }}{{ loop.last }}{% else %}none{% endfor %}",
    "{% for x in xs if x > 9 %}{{ x }}{% else %}none{% endfor %}",
    "{% for x in [] %}x{% else %}empty{% endfor %}",
    "{% for x in missing %}x{% else %}empty{% endfor %}",
    "{% for x in 5 %}x{% endfor %}",
    "{% for x in none %}x{% endfor %}",
    "{% for k in d %}{{ k }}{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in d|items %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in d|dictsort %}{{ k }}={{ v }};{% endfor %}",
    "{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}",
    "{% for c in u %}{{ c }}|{% endfor %}",
    "{% for x in 1, 2, 3 %}{{ x }}{% endfor %}",
    "{% for x in xs %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in xs %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in xs %}{% for y in xs %}{% if y == 1 %}{% break %}{% endif %}{{ y }}{% endfor %}{{ x }}{% endfor %}",
    "{% break %}",
    "{% set x = 0 %}{% for y in xs %}{% set x = x + y %}{{ x }}{% endfor %}{{ x }}",
    "{% set ns = namespace(t=0) %}{% for y in xs %}{% set ns.t = ns.t + y %}{% endfor %}{{ ns.t }}",
    "{% set ns = namespace() %}{% set ns.a = 1 %}{{ ns.a }}{{ ns.b }}",
    "{% set d.x = 1 %}",
    "{% for x in xs %}{% set z = x %}{% endfor %}{{ z }}",
    "{% if true %}{% set z = 1 %}{% endif %}{{ z }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set a, b = [1] %}{{ a }}",
    "{% set t = 1, 2 %}{{ t }}",
    "{% set x %}a{{ s }}b{% endset %}{{ x|upper }}",
    "{% set x | upper | trim %}  a{{ s }}b  {% endset %}{{ x }}",
    "{% set x %}{% set y = 1 %}{% endset %}{{ y }}",
    "{% if i > 5 %}a{% elif i > 3 %}b{% else %}c{% endif %}",
    "{% if no %}a{% elif i > 3 %}b{% else %}c{% endif %}",
    "{% if no %}a{% elif nil %}b{% else %}c{% endif %}",
    "{% if missing %}a{% endif %}b",
    "{% if missing.x %}a{% endif %}b",
    "{% if not missing is defined %}a{% endif %}b",
    "{% macro m(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(b=5, a=4) }} {{ m() }}",
    "{% macro m(a, b=a) %}{{ a }}-{{ b }}{% endmacro %}{{ m(1) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(c=2) }}",
    "{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, c=4) }}",
    "{% macro m() %}{{ s }}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}",
    "{% set x = 1 %}{% macro m() %}{{ x }}{% set x = 2 %}{{ x }}{% endmacro %}{% set x = 3 %}{{ m() }}{{ x }}",
    "{% macro m(n) %}{% if n %}{{ n }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(5) }}",
    "{% macro m(x) -%}  {{ x }}  {%- endmacro %}[{{ m('a') }}][{{ m('b')|upper }}]{{ m(1) is string }}{{ m.name }}",
    "{% for x in xs %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}",
    "{% for x in xs %}{% macro m(y) %}{{ x }}{{ y }}{{ loop is defined }}{% endmacro %}{{ m(loop.index) }}{% endfor %}",
    "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}in{{ i }}{% endcall %}",
    "{% macro m(xs) %}{% for x in xs %}{{ caller(x) }}{% endfor %}{% endmacro %}{% call(x) m(xs) %}<{{ x }}>{% endcall %}",
    "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}",
    "{% filter upper %}a{{ s }}{% endfilter %}",
    "{% filter replace('a', 'b') | upper %}aaa{% endfilter %}",
    "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}",
    "{% set a = 5 %}{% with a = 1, b = a %}{{ b }}{% endwith %}",
    "{% set l = [] %}{% for x in xs %}{% set _ = l.append(x * 2) %}{% endfor %}{{ l }}",
    "{% set l = [1] %}{{ l.append(2) }}{{ l }}{{ l.index(2) }}{{ l.count(1) }}",
    "{% set j = joiner(', ') %}{% for x in xs %}{{ j() }}{{ x }}{% endfor %}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.next() }}{% set _ = c.reset() %}{{ c.current }}",
    "{% for m in people %}{{ m.name if m.admin is defined else 'x' }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{% for m in people[::-1] %}{{ m['name'] }}{{ (people|length - 1) - loop.index0 }}{% endfor %}",
    "{% for m in people if m.tags %}{{ m.tags|join }}{% endfor %}",
    "{{ raise_exception('no ' ~ s) }}",
    "{% unknown %}",
    "{% if true %}",
    "{% endif %}",
    "{% for x xs %}{% endfor %}",
    "{% for x in xs %}{% endif %}",
    "{{ }}",
    "{{ s",
    "{% if true",
    "{# open",
    "{% raw %}open",
    "{% set true = 1 %}",
    "{% set x %}",
    "{% else %}",
    "{{ 'a' if yes }}{{ 'b' if no }}|",
    "{%- for x in xs -%}\n  {{- x -}}\n{%- endfor -%}",
    "{% for x in xs %}\n  {{ x }}\n{% endfor %}\nend",
    "\n\n{%- set x = 1 %}\n  {%- if x %}\n    {{- 'y' }}\n  {%- endif %}\n",
    "x\n\t {%- set y = 1 -%} \n z",
    "{% for x in xs %}{{ loop.cycle() }}{% endfor %}",
    "{% for x in xs recursive %}{{ x }}{% endfor %}{{ nope.x }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}",
    "{% macro m(a=1, b) %}{{ a }}{% endmacro %}",
    "{% macro m(a) %}[{{ a }}{{ caller(1) }}]{% endmacro %}{% call(x) m(2) %}<{{ x }}>{% endcall %}",
    "{% macro m() %}[]{% endmacro %}{% call m() %}x{% endcall %}",
    "{% macro m() %}[{{ caller() }}]{% endmacro %}{{ m(caller=5) }}",
    "{% call 5 %}x{% endcall %}",
    "{% set s.a = 2 %}",
    "{% set nope.a = 2 %}",
    "{% set (a, b) = (1, 2) %}{{ a }}{{ b }}",
    "{% set none = 1 %}",
    "{% set True = 1 %}",
    "{% set False = 1 %}",
    "{% set None = 1 %}",
    "{% set false = 1 %}",
    "{% with %}{% set a = 1 %}{{ a }}{% endwith %}{{ a is defined }}",
    "{% with a = 1, b = 2 %}{{ a }}{% endwith %}",
    "{% with a = 1 b = 2 %}{{ a }}{% endwith %}",
    "{% for true in xs %}{% endfor %}",
    "{% for x.y in xs %}{% endfor %}",
    "{% raw %}{{ x }}{% endraw %}{%- raw -%} y {%- endraw -%} z",
    "{%raw%}{{%endraw%}",
    "{% raw %} {% end %} {% endraw %}",
    "{% raw %}{%",
    "{% raw %}{%-",
    "{%- raw %}{% endraw %}",
    "{% raw x %}",
    "{#- c -#} a {#+ d #} b",
    "{{+ 2 }}",
    "  {%+ if yes %}a{% endif %}",
    "{",
    "{{",
    "{%",
    "{%-",
    "{{ ) }}",
    "{{ ( }}",
    "{% set x = joiner() %}{{ x() }}{{ x() }}{{ x.y is defined }}",
    "{% set c = cycler(1, 2) %}{{ c.next() }}{{ c.zz is defined }}{{ c.current }}",
    "{% set c = cycler(1) %}{% set c.x = 1 %}",
    "{{ _x is defined }}{{ Zx is defined }}",
    "{% if yes %}a{%",
    "{{ x.",
    "{% filter upper %}a{{ s }}{% endfilter %}",
    "{{ loop }}",
    "a\r\nb\rc\n",
    "{{ 'a\\\nb' }}",
    "{% if yes -%}\n x\n{%- endif %}\n",
    "x{% raw -%}\n y {% endraw %}",
    "a\r",
]


def make_environment():
    environment = SandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    return environment


def main():
    environment = make_environment()
    cases = []
    for template in ["{{ " + e + " }}" for e in EXPRESSIONS] + TEMPLATES:
        try:
            output = environment.from_string(template).render(**VARIABLES)
            cases.append({"template": template, "output": output})
        except Exception:
            cases.append({"template": template, "error": True})
    with open(sys.argv[1], "w") as f:
        json.dump({"jinja2": jinja2.__version__, "variables": VARIABLES, "cases": cases}, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
