// Chat messages to a prompt, by the template that a checkpoint brings, as transformers' apply_chat_template does it.
//
// The template's own text is trusted and may become special tokens; whatever came with the request (contents, names, roles, tools)
// is not, however the template cuts and joins it. Immutable; renders from several threads at once.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <memory>
#include <string>

#include "base/status.h"
#include "text/jinja/run.h"

namespace sluice {

// text; runs {begin, end, trusted} in bytes, which cover it in order.
using ChatOutput = jinja::Rendering;

class ChatTemplate {
 public:
  // special_tokens: variables like bos_token that the template may print, trusted.
  static Result<ChatTemplate> parse(const std::string& source, boost::json::object special_tokens = {});
  // chat_template.jinja of a checkpoint's folder, else chat_template of its tokenizer_config.json (a string, or a list in which the
  // one named "default" counts). kNotFound: the checkpoint has none.
  static Result<ChatTemplate> load(const std::string& dir);

  // tools: null if there are none. extra: further variables, for example enable_thinking.
  // kInvalidArgument carries what the template says against the messages; kResourceExhausted names the limit.
  Result<ChatOutput> render(const boost::json::value& messages, const boost::json::value& tools, bool add_generation_prompt,
                            const boost::json::object& extra) const;

  const std::string& source() const { return *source_; }

 private:
  static Result<ChatTemplate> read(const std::string& dir);
  ChatTemplate(jinja::Template parsed, std::string source, boost::json::object special_tokens)
      : template_(std::move(parsed)),
        source_(std::make_shared<const std::string>(std::move(source))),
        special_tokens_(std::move(special_tokens)) {}

  jinja::Template template_;
  std::shared_ptr<const std::string> source_;
  boost::json::object special_tokens_;
};

}  // namespace sluice
