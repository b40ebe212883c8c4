// The description of the API against the router's table, and against itself.
#include "server/openapi.h"

#include <gtest/gtest.h>

#include <boost/json/value.hpp>
#include <functional>
#include <set>
#include <string>

#include "server/routes.h"
#include "server/test_service.h"

namespace sluice {
namespace {

namespace json = boost::json;

const OpenApiFacts kFacts = {
    .version = "1.2", .models = {"demo"}, .page = {"index.html"}, .vocab_size = 2048, .max_context = 512, .needs_key = true};

json::object document(const OpenApiFacts& facts = kFacts) {
  auto d = openapi_document(openapi_files(), facts);
  EXPECT_TRUE(d.ok()) << d.status().to_string();
  return d.ok() ? std::move(*d) : json::object();
}

struct Operation {
  std::string method, path;
  const json::object* object;
  std::string name() const { return method + " " + path; }
};

std::vector<Operation> operations(const json::object& document) {
  std::vector<Operation> out;
  for (const auto& path : document.at("paths").as_object())
    for (const auto& [method, operation] : path.value().as_object()) {
      std::string upper(method);
      for (char& c : upper) c = char(std::toupper(c));
      out.push_back({upper, std::string(path.key()), &operation.as_object()});
    }
  return out;
}

void each_ref(const json::value& v, const std::function<void(const std::string&)>& f) {
  if (const json::array* a = v.if_array())
    for (const json::value& item : *a) each_ref(item, f);
  if (const json::object* o = v.if_object()) {
    for (const auto& [key, value] : *o) {
      if (key == "$ref" && value.is_string()) f(std::string(value.get_string()));
      else each_ref(value, f);
    }
  }
}

class OpenApiOfAServer : public ::testing::Test {
 protected:
  void SetUp() override {
    service_ = testing::demo_service(testing::xml_template());
    ASSERT_TRUE(service_);
    const Status s = add_all_routes(router_, *service_, {.device = "cpu", .needs_key = true, .counters = [] { return nullptr; }});
    ASSERT_TRUE(s.ok()) << s.to_string();
    ASSERT_TRUE(router_.status().ok());
  }
  // As the description writes it: the page's files are one path.
  static std::string described(const Route& r) {
    if (r.pattern.starts_with("/web/")) return "/web/{file}";
    std::string path = r.pattern;
    if (const size_t rest = path.find("...}"); rest != std::string::npos) path.erase(rest, 3);
    return path;
  }
  std::unique_ptr<Service> service_;
  Router router_;
};

TEST_F(OpenApiOfAServer, DescribesEveryRouteAndNoOther) {
  std::set<std::string> routes, found;
  for (const Route& r : router_.routes()) routes.insert(r.method + " " + described(r));
  const json::object d = document();
  for (const Operation& o : operations(d)) found.insert(o.name());
  EXPECT_EQ(found, routes);
}

TEST_F(OpenApiOfAServer, SaysWhichRoutesNeedAKey) {
  const json::object d = document();
  for (const Route& r : router_.routes()) {
    std::string method = r.method;
    for (char& c : method) c = char(std::tolower(c));
    const json::object& o = d.at("paths").at(described(r)).at(method).as_object();
    const json::value* security = o.if_contains("security");
    EXPECT_EQ(r.options.needs_key, security == nullptr) << r.pattern;
    EXPECT_TRUE(!security || security->as_array().empty()) << r.pattern;
    EXPECT_TRUE(!r.options.needs_key || o.at("responses").as_object().contains("401")) << r.pattern;
  }
}

TEST(OpenApi, ReferencesResolveAndEachComponentIsUsed) {
  const json::value d = document();
  std::set<std::string> used;
  each_ref(d, [&](const std::string& ref) {
    json::error_code ec;
    EXPECT_TRUE(ref.starts_with("#/") && d.find_pointer(ref.substr(1), ec)) << ref;
    used.insert(ref);
  });
  EXPECT_GT(used.size(), 30u);
  for (const auto& kind : d.at("components").as_object())
    for (const auto& component : kind.value().as_object())
      EXPECT_TRUE(kind.key() == "securitySchemes" ||
                  used.contains("#/components/" + std::string(kind.key()) + "/" + std::string(component.key())))
          << component.key();
}

TEST(OpenApi, EachOperationIsWhole) {
  const json::object d = document();
  std::set<std::string> ids;
  for (const Operation& o : operations(d)) {
    EXPECT_TRUE(ids.insert(std::string(o.object->at("operationId").as_string())).second) << o.name();
    EXPECT_FALSE(o.object->at("summary").as_string().empty()) << o.name();
    EXPECT_EQ(o.object->contains("parameters"), o.path.find('{') != std::string::npos || o.path == "/metrics") << o.name();
    const json::object& responses = o.object->at("responses").as_object();
    EXPECT_TRUE(responses.contains("200") || responses.contains("404") || responses.contains("501")) << o.name();
    for (const char* status : {"400", "408", "413", "414", "417", "431", "500", "503", "505"})
      EXPECT_TRUE(responses.contains(status)) << o.name() << " " << status;
  }
}

TEST(OpenApi, HasWhatOnlyTheProgramKnows) {
  const json::object d = document();
  EXPECT_EQ(d.at("info").at("version"), "1.2");
  const json::value& schemas = d.at("components").at("schemas");
  EXPECT_EQ(schemas.at("ModelName").at("enum"), json::array{"demo"});
  EXPECT_EQ(schemas.at("PageFile").at("enum"), json::array{"index.html"});
  EXPECT_EQ(schemas.at("TokenId").at("maximum"), 2047);
  EXPECT_EQ(schemas.at("TokenCount").at("maximum"), 512);
  EXPECT_TRUE(d.contains("security"));
  OpenApiFacts open = kFacts;
  open.needs_key = false;
  EXPECT_FALSE(document(open).contains("security"));
}

TEST(OpenApi, RefusesPartsThatDoNotFit) {
  const auto error = [](std::initializer_list<std::string_view> bodies) {
    std::vector<EmbeddedFile> files;
    for (const std::string_view body : bodies) files.push_back({files.empty() ? "a.json" : "b.json", "", body});
    auto d = openapi_document(files, kFacts);
    return d.ok() ? "none" : d.status().message();
  };
  EXPECT_EQ(error({R"({"paths": {"/a": {}}})", R"({"paths": {"/b": {}}})"}), "none");
  EXPECT_EQ(error({R"({"paths": {"/a": {}}})", R"({"paths": {"/a": {}}})"}), "server/openapi/b.json: paths: /a is there already");
  EXPECT_EQ(error({R"({"schemas": {"A": {}}})", R"({"schemas": {"A": {}}})"}),
            "server/openapi/b.json: schemas: A is there already");
  EXPECT_EQ(error({R"({"schemas": {"TokenId": {}}})"}), "schemas: TokenId is there already");
  EXPECT_EQ(error({R"({"path": {}})"}), "server/openapi/a.json: path is no part of a description");
  EXPECT_EQ(error({R"({"paths": {"/a": 5}})"}), "paths: /a is not an object");
  EXPECT_EQ(error({R"({"paths": []})"}), "server/openapi/a.json: paths is not an object");
  EXPECT_EQ(error({"[]"}), "server/openapi/a.json is not an object");
  EXPECT_NE(error({"{"}).find("server/openapi/a.json: not valid JSON"), std::string::npos);
}

// An answer that an operation describes itself is kept; the others come to it.
TEST(OpenApi, AddsTheAnswersThatAllHave) {
  const EmbeddedFile file = {"a.json", "", R"({
    "everywhere": {"400": {"description": "all"}, "401": {"description": "all"}},
    "paths": {"/a": {"get": {"responses": {"400": {"description": "own"}}}, "post": {"security": []}}}})"};
  auto d = openapi_document({&file, 1}, kFacts);
  ASSERT_TRUE(d.ok()) << d.status().to_string();
  const json::value& path = d->at("paths").at("/a");
  EXPECT_EQ(path.at("get").at("responses"), testing::json_of(R"({"400": {"description": "own"}, "401": {"description": "all"}})"));
  EXPECT_EQ(path.at("post").at("responses"), testing::json_of(R"({"400": {"description": "all"}})"));
}

}  // namespace
}  // namespace sluice
