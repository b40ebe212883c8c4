#include "server/openapi.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <memory>
#include <string_view>

#include "io/json.h"

namespace sluice {
namespace {

namespace json = boost::json;

constexpr std::string_view kComponents[] = {"schemas", "responses", "parameters", "headers", "examples"};

json::object& object_at(json::object& o, std::string_view key) {
  json::value& v = o[key];
  return v.is_object() ? v.get_object() : v.emplace_object();
}

// Moves the members of `from` into those of `to`, none twice.
Status merge(json::value& from, json::object& to, const std::string& where) {
  if (!from.is_object()) return invalid(where + " is not an object");
  for (auto& member : from.get_object())
    if (!to.emplace(member.key(), std::move(member.value())).second)
      return invalid(where + ": " + std::string(member.key()) + " is there already");
  return {};
}

struct Parts {
  json::object paths, everywhere, components;

  Status add(const EmbeddedFile& file) {
    const std::string where = "server/openapi/" + std::string(file.name);
    SLUICE_ASSIGN_OR_RETURN(json::value part, parse_json(file.body, where));
    if (!part.is_object()) return invalid(where + " is not an object");
    for (auto& member : part.get_object()) {
      const std::string_view key = member.key();
      const std::string at = where + ": " + std::string(key);
      const bool component = std::ranges::count(kComponents, key) > 0;
      if (!component && key != "paths" && key != "everywhere") return invalid(at + " is no part of a description");
      json::object& to = key == "paths" ? paths : key == "everywhere" ? everywhere : object_at(components, key);
      SLUICE_RETURN_IF_ERROR(merge(member.value(), to, at));
    }
    return {};
  }
};

bool is_open(const json::object& operation) {
  const json::value* security = operation.if_contains("security");
  return security && security->is_array() && security->get_array().empty();
}

void add_common_answers(json::object& operation, const json::object& everywhere) {
  json::object& responses = object_at(operation, "responses");
  for (const auto& [status, answer] : everywhere)
    if (status != "401" || !is_open(operation)) responses.emplace(status, answer);
}

json::object one_of(const std::vector<std::string>& names) {
  return {{"type", "string"}, {"enum", json::array(names.begin(), names.end())}};
}
json::object whole_number(int64_t max) { return {{"type", "integer"}, {"minimum", 0}, {"maximum", max}}; }

json::value facts_schemas(const OpenApiFacts& facts) {
  return json::object{{"ModelName", one_of(facts.models)},
                      {"PageFile", one_of(facts.page)},
                      {"TokenId", whole_number(facts.vocab_size - 1)},
                      {"TokenCount", whole_number(facts.max_context)}};
}

}  // namespace

Result<json::object> openapi_document(std::span<const EmbeddedFile> files, const OpenApiFacts& facts) {
  Parts parts;
  for (const EmbeddedFile& file : files) SLUICE_RETURN_IF_ERROR(parts.add(file));
  for (auto& path : parts.paths) {
    if (!path.value().is_object()) return invalid("paths: " + std::string(path.key()) + " is not an object");
    for (auto& member : path.value().get_object())  // of a path's members only operations are objects
      if (member.value().is_object()) add_common_answers(member.value().get_object(), parts.everywhere);
  }
  json::value schemas = facts_schemas(facts);
  SLUICE_RETURN_IF_ERROR(merge(schemas, object_at(parts.components, "schemas"), "schemas"));
  parts.components["securitySchemes"] = {{"bearer", {{"type", "http"}, {"scheme", "bearer"}}},
                                         {"header", {{"type", "apiKey"}, {"in", "header"}, {"name", "X-Api-Key"}}}};
  json::object document = {{"openapi", "3.1.0"}, {"info", {{"title", "Sluice"}, {"version", facts.version}}}};
  if (facts.needs_key)
    document["security"] = json::array{json::object{{"bearer", json::array()}}, json::object{{"header", json::array()}}};
  document["paths"] = std::move(parts.paths);
  document["components"] = std::move(parts.components);
  return document;
}

Status add_openapi_route(Router& router, const OpenApiFacts& facts) {
  SLUICE_ASSIGN_OR_RETURN(const json::object document, openapi_document(openapi_files(), facts));
  router.add("GET", "/openapi.json",
             [text = std::make_shared<const std::string>(json::serialize(document))](const HttpRequest&, const Responder& r) {
               r.respond(200, {{"Content-Type", "application/json"}}, *text);
             });
  return {};
}

}  // namespace sluice
