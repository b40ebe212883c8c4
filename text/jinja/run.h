// A parsed template and its renderings.
//
//   auto t = jinja::Template::parse("Hello {{ name }}");
//   auto r = t->render({{"name", &json, /*trusted=*/false}});
//
// Semantics are those of Jinja 3.1 in the setting that chat templates are written for (trim_blocks, lstrip_blocks, loop controls,
// undefined names print nothing), with list.append on top. A Template may be rendered by several threads at once.
#pragma once

#include <boost/json/value.hpp>
#include <memory>
#include <string>
#include <vector>

#include "text/jinja/budget.h"

namespace sluice::jinja {

struct Program;

struct Variable {
  std::string name;
  const boost::json::value* value;
  bool trusted;  // true: the text is the model's own, not the request's
};

struct Rendering {
  struct Run {
    size_t begin, end;  // bytes of text
    bool trusted;
  };
  std::string text;
  std::vector<Run> runs;  // cover the text, in order, neighbours differ
};

class Template {
 public:
  // An error's message begins with "line N: ".
  static Result<Template> parse(const std::string& source);
  // kInvalidArgument: the template refuses the variables, or is wrong; kResourceExhausted: a limit was reached.
  Result<Rendering> render(const std::vector<Variable>& variables, const Limits& limits = {}) const;

 private:
  explicit Template(std::shared_ptr<const Program> program) : program_(std::move(program)) {}

  std::shared_ptr<const Program> program_;
};

}  // namespace sluice::jinja
