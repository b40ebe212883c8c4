#include "text/tool_schema.h"

#include <boost/json/array.hpp>

#include "text/markup.h"

namespace sluice {
namespace {

namespace json = boost::json;

JsonTypes type_named(std::string_view name) {
  if (name == "string") return kJsonString;
  if (name == "integer" || name == "number" || name == "int" || name == "float") return kJsonNumber;
  if (name == "boolean" || name == "bool") return kJsonBoolean;
  if (name == "null") return kJsonNull;
  if (name == "object" || name == "dict") return kJsonObject;
  return name == "array" || name == "list" ? kJsonArray : 0;
}

JsonTypes type_of_value(const json::value& value) {
  if (value.is_string()) return kJsonString;
  if (value.is_number()) return kJsonNumber;
  if (value.is_bool()) return kJsonBoolean;
  if (value.is_null()) return kJsonNull;
  return value.is_object() ? kJsonObject : kJsonArray;
}

const json::object* object_at(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value ? value->if_object() : nullptr;
}

// The types that one parameter's schema allows. References may go in circles and fan out, so the steps are counted.
class TypeReader {
 public:
  explicit TypeReader(const json::object& root) : root_(root) {}

  JsonTypes read(const json::value& value) {
    const json::object* schema = value.if_object();
    if (!schema || ++steps_ > kMaxSteps) return 0;
    JsonTypes types = declared(*schema);
    if (types == 0) types = implied(*schema);
    const json::value* nullable = schema->if_contains("nullable");
    return nullable && types != 0 && *nullable == true ? JsonTypes(types | kJsonNull) : types;
  }

 private:
  static constexpr int kMaxSteps = 256;

  static JsonTypes declared(const json::object& schema) {
    const json::value* type = schema.if_contains("type");
    if (!type) return 0;
    if (type->is_string()) return type_named(type->get_string());
    JsonTypes types = 0;
    if (const json::array* names = type->if_array())
      for (const json::value& name : *names) types |= name.is_string() ? type_named(name.get_string()) : 0;
    return types;
  }

  JsonTypes implied(const json::object& schema) {
    JsonTypes types = 0;
    if (const json::value* constant = schema.if_contains("const")) types |= type_of_value(*constant);
    if (const json::value* values = schema.if_contains("enum"); values && values->is_array())
      for (const json::value& value : values->get_array()) types |= type_of_value(value);
    for (const char* key : {"anyOf", "oneOf", "allOf"})
      if (const json::value* branches = schema.if_contains(key); branches && branches->is_array())
        for (const json::value& branch : branches->get_array()) types |= read(branch);
    if (const json::value* reference = schema.if_contains("$ref"); reference && reference->is_string())
      if (const json::value* target = referenced(reference->get_string())) types |= read(*target);
    if (types != 0) return types;
    if (schema.contains("properties")) return kJsonObject;
    return schema.contains("items") ? kJsonArray : 0;
  }

  const json::value* referenced(std::string_view reference) const {
    for (const std::string_view folder : {"$defs", "definitions"}) {
      const std::string prefix = "#/" + std::string(folder) + "/";
      const json::object* definitions = object_at(root_, folder);
      if (definitions && reference.starts_with(prefix)) return definitions->if_contains(reference.substr(prefix.size()));
    }
    return nullptr;
  }

  const json::object& root_;
  int steps_ = 0;
};

ToolSchema read_schema(const json::object& function) {
  ToolSchema schema;
  const json::object* root = object_at(function, "parameters");
  const json::object* properties = root ? object_at(*root, "properties") : nullptr;
  if (!properties) return schema;
  for (const auto& property : *properties) schema.parameters.emplace(property.key(), TypeReader(*root).read(property.value()));
  return schema;
}

}  // namespace

ToolSchemas::ToolSchemas(const json::value& tools) {
  const json::array* list = tools.if_array();
  if (!list) return;
  for (const json::value& item : *list) {
    const json::object* tool = item.if_object();
    if (!tool) continue;
    const json::object* inner = object_at(*tool, "function");
    const json::object& function = inner ? *inner : *tool;
    const json::value* name = function.if_contains("name");
    if (!name || !name->is_string() || name->get_string().empty() || name->get_string().size() > kMaxNameBytes) continue;
    tools_.emplace(name->get_string(), read_schema(function));
  }
}

const ToolSchema* ToolSchemas::find(std::string_view name) const {
  const auto it = tools_.find(name);
  return it == tools_.end() ? nullptr : &it->second;
}

}  // namespace sluice
