#include "text/chat.h"

#include <boost/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "base/out_of_memory.h"
#include "io/json.h"

namespace sluice {
namespace {

constexpr size_t kMostTemplateBytes = size_t(1) << 20;  // published ones are below 64 KiB
constexpr size_t kMostConfigBytes = size_t(16) << 20;   // tokenizer_config.json may list a hundred thousand added tokens

// Members like "eos_token": a string, or an object that holds it as "content". Null ones stay undefined, as in transformers.
boost::json::object special_tokens_of(const boost::json::object& config) {
  boost::json::object tokens;
  for (const auto& [key, value] : config) {
    if (!std::string_view(key).ends_with("_token")) continue;
    const auto* object = value.if_object();
    const auto* text = object ? object->if_contains("content") : &value;
    if (text && text->is_string()) tokens[key] = *text;
  }
  return tokens;
}

Result<std::string> template_of(const boost::json::object& config, const std::string& dir, const std::string& path) {
  const auto* entry = config.if_contains("chat_template");
  if (!entry || entry->is_null()) {
    return Status(Code::kNotFound, dir + ": no chat template", "use raw prompts, or add chat_template.jinja");
  }
  if (entry->is_string()) return std::string(entry->get_string());
  if (!entry->is_array()) return bad_file(path + ": chat_template is neither a string nor a list");
  for (const auto& item : entry->get_array()) {
    const auto* object = item.if_object();
    const auto* name = object ? object->if_contains("name") : nullptr;
    const auto* source = object ? object->if_contains("template") : nullptr;
    if (!name || !source || !source->is_string()) return bad_file(path + ": an entry of chat_template lacks name or template");
    if (*name == "default") return std::string(source->get_string());
  }
  return bad_file(path + ": chat_template is a list without the name \"default\"");
}

// The object in a JSON file; an empty one where there is no file.
Result<boost::json::object> read_config(const std::string& path) {
  auto text = read_small_file(path, kMostConfigBytes);
  if (text.status().code() == Code::kNotFound) return boost::json::object();
  if (!text.ok()) return text.status();
  SLUICE_ASSIGN_OR_RETURN(boost::json::value json, parse_json(*text, path));
  if (!json.is_object()) return bad_file(path + ": not a JSON object");
  return std::move(json.get_object());
}

}  // namespace

Result<ChatTemplate> ChatTemplate::parse(const std::string& source, boost::json::object special_tokens) {
  auto parsed = jinja::Template::parse(source);
  if (!parsed.ok()) return parsed.status().in("chat template");
  return ChatTemplate(std::move(parsed).value(), source, std::move(special_tokens));
}

Result<ChatTemplate> ChatTemplate::load(const std::string& dir) {
  return or_out_of_memory([&] { return read(dir); });
}

Result<ChatTemplate> ChatTemplate::read(const std::string& dir) {
  const std::string config_path = dir + "/tokenizer_config.json";
  std::string path = dir + "/chat_template.jinja";
  SLUICE_ASSIGN_OR_RETURN(const boost::json::object config, read_config(config_path));
  auto source = read_small_file(path, kMostTemplateBytes);
  if (source.status().code() == Code::kNotFound) {
    path = config_path;
    source = template_of(config, dir, config_path);
  }
  if (!source.ok()) return source.status();
  auto parsed = parse(*source, special_tokens_of(config));
  if (!parsed.ok()) return bad_file(parsed.status().message()).in(path);
  return parsed;
}

Result<ChatOutput> ChatTemplate::render(const boost::json::value& messages, const boost::json::value& tools,
                                        bool add_generation_prompt, const boost::json::object& extra) const {
  const boost::json::value add_prompt = add_generation_prompt, no_documents = nullptr;
  std::vector<jinja::Variable> variables = {
      {"messages", &messages, false}, {"tools", &tools, false}, {"add_generation_prompt", &add_prompt, true}};
  // The first of a name counts: a request can neither replace the messages nor make a special token of its own.
  for (const auto& [key, value] : special_tokens_) variables.push_back({key, &value, true});
  for (const auto& [key, value] : extra) variables.push_back({key, &value, false});
  variables.push_back({"documents", &no_documents, true});
  auto output = template_.render(variables);
  return output.ok() ? std::move(output) : Result<ChatOutput>(output.status().in("chat template"));
}

}  // namespace sluice
