// The page's routes: every file with its headers, and the JSON of the status.
#include "server/web.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <filesystem>
#include <fstream>
#include <memory>
#include <regex>
#include <set>
#include <sstream>
#include <string>

#include "server/embedded.h"
#include "server/http.h"
#include "tests/support/raw_client.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using testing::RawClient;
using testing::RawResponse;

const std::string kKey = "Authorization: Bearer a-secret-key\r\n";
const fs::path kFolder = fs::path(SLUICE_SOURCE_DIR) / "server" / "web";

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

class Web : public ::testing::Test {
 protected:
  void SetUp() override {
    Router router;
    add_web_routes(
        router,
        {.facts = {"a \"model\"", "1.2", "cpu", 4096}, .report = [this] { return report_; }, .draining = [] { return true; }});
    HttpOptions options;
    options.port = 0;
    options.api_keys = {"a-secret-key"};
    auto started = HttpServer::start(std::move(options), std::move(router));
    ASSERT_TRUE(started.ok()) << started.status().to_string();
    server_ = std::move(started).value();
  }
  RawResponse get(const std::string& path, const std::string& headers = {}, const std::string& method = "GET") {
    RawClient client(server_->port());
    EXPECT_TRUE(client.send(method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n" + headers + "\r\n"));
    return client.response(5000, method == "HEAD");
  }
  EngineLoop::Report report_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(Web, SendsEveryFileAsItIsInTheSource) {
  std::set<std::string> embedded;
  for (const EmbeddedFile& f : web_files()) embedded.insert(std::string(f.name));
  for (const auto& entry : fs::directory_iterator(kFolder)) {
    const std::string name = entry.path().filename().string();
    EXPECT_EQ(embedded.erase(name), 1u) << name << " is not in the program";
    const RawResponse r = get("/web/" + name);
    EXPECT_EQ(r.status, 200) << name;
    EXPECT_EQ(r.body, read_file(entry.path())) << name;
  }
  EXPECT_TRUE(embedded.empty()) << *embedded.begin();
  EXPECT_EQ(get("/").body, read_file(kFolder / "index.html"));
  for (const char* path : {"/web/nothing.js", "/web/", "/web/../web.cc", "/web/%2e%2e/web.cc", "/index.html"}) {
    EXPECT_EQ(get(path, kKey).status, 404) << path;
  }
}

TEST_F(Web, HeadersOfAFile) {
  const RawResponse page = get("/");
  EXPECT_EQ(page.header("Content-Type"), "text/html; charset=utf-8");
  EXPECT_EQ(page.header("X-Content-Type-Options"), "nosniff");
  EXPECT_EQ(page.header("Cache-Control"), "no-cache");
  EXPECT_EQ(get("/web/app.js").header("Content-Type"), "text/javascript; charset=utf-8");
  EXPECT_EQ(get("/web/style.css").header("Content-Type"), "text/css; charset=utf-8");
  EXPECT_EQ(get("/web/icon.svg").header("Content-Type"), "image/svg+xml");
  const std::string policy = page.header("Content-Security-Policy");
  EXPECT_EQ(policy.find("default-src 'none'"), 0u) << policy;
  for (const char* loose : {"unsafe", "*", "http", "data:", "blob:"}) EXPECT_EQ(policy.find(loose), std::string::npos) << policy;

  const RawResponse head = get("/", {}, "HEAD");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.header("Content-Length"), std::to_string(page.body.size()));
}

TEST_F(Web, AnUnchangedFileIsNotSentAgain) {
  const std::string tag = get("/web/app.js").header("ETag");
  ASSERT_GT(tag.size(), 2u);
  EXPECT_EQ(tag, get("/web/app.js").header("ETag"));
  EXPECT_NE(tag, get("/web/chat.js").header("ETag"));
  for (const std::string& asked : {tag, "W/" + tag, "\"other\", " + tag, "\"other\",W/" + tag + " ", std::string("*")}) {
    const RawResponse r = get("/web/app.js", "If-None-Match: " + asked + "\r\n");
    EXPECT_EQ(r.status, 304) << asked;
    EXPECT_EQ(r.header("ETag"), tag);
    EXPECT_FALSE(r.header("Content-Security-Policy").empty());
  }
  for (const std::string& asked :
       {std::string("\"other\""), tag.substr(1), std::string(), tag.substr(0, 5) + "\"", std::string(",,")}) {
    EXPECT_EQ(get("/web/app.js", "If-None-Match: " + asked + "\r\n").status, 200) << asked;
  }
}

// Files name each other, and nothing outside.
TEST_F(Web, NoFileNamesAnotherHost) {
  const std::regex url(R"((?:https?:|wss?:|["'`])//[a-z0-9\[][^\s"'`)]*)", std::regex::icase);
  const std::regex reference(R"re((?:href|src)="(web/[^"]+)"|from "\./([^"]+)")re");
  for (const EmbeddedFile& f : web_files()) {
    std::string text(f.body);
    for (auto m = std::sregex_iterator(text.begin(), text.end(), reference); m != std::sregex_iterator(); ++m) {
      EXPECT_EQ(get("/" + ((*m)[1].matched ? (*m)[1].str() : "web/" + (*m)[2].str())).status, 200) << f.name << ": " << m->str();
    }
    for (auto m = std::sregex_iterator(text.begin(), text.end(), url); m != std::sregex_iterator(); ++m) {
      EXPECT_EQ(m->str(), "http://www.w3.org/2000/svg") << f.name;  // a name, never asked for
    }
    // What could turn text into markup or code.
    for (const char* word : {"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "DOMParser",
                             "@import", "url("}) {
      EXPECT_EQ(text.find(word), std::string::npos) << f.name << " has " << word;
    }
  }
}

TEST_F(Web, StatusIsForThoseWithTheKey) {
  EXPECT_EQ(get("/status.json").status, 401);
  report_.scheduler.running = 3;
  const RawResponse r = get("/status.json", kKey);
  EXPECT_EQ(r.status, 200);
  EXPECT_EQ(r.header("Content-Type"), "application/json");
  EXPECT_EQ(r.header("Cache-Control"), "no-store");
  const json::value v = json::parse(r.body);
  EXPECT_EQ(v.at("model"), "a \"model\"");
  EXPECT_EQ(v.at("requests").at("running"), 3);
  EXPECT_EQ(v.at("draining"), true);
  EXPECT_GE(v.at("time_s").to_number<double>(), 0.0);
}

TEST(WebStatus, EveryFigureHasItsPlace) {
  EngineLoop::Report r;
  r.scheduler = {.running = 1,
                 .waiting = 2,
                 .waiting_tokens = 3,
                 .steps = 4,
                 .prompt_tokens = 5,
                 .cached_tokens = 6,
                 .generated_tokens = 7,
                 .drafted = 8,
                 .accepted = 9,
                 .preemptions = 10,
                 .finished = 11,
                 .cancelled = 12,
                 .failed = 13,
                 .seconds = {0.5, 1.5, 0.25, 0.125, 0.0625}};
  r.cache = {.queries = 14, .hits = 15, .hit_tokens = 16, .query_tokens = 17, .evictions = 18};
  r.state_slots = 100, r.state_free = 19, r.snapshots = 20;
  r.kv_pages = 200, r.kv_free = 21, r.kv_cached = 22;
  r.busy_s = 2.5, r.last_step_s = 0.25, r.failed_steps = 23;
  const json::value expected = json::parse(R"({
    "model": "m", "version": "1", "device": "cuda:0", "max_context": 24, "time_s": 1.5, "draining": false,
    "requests": {"running": 1, "waiting": 2, "waiting_tokens": 3, "finished": 11, "cancelled": 12, "failed": 13, "preemptions": 10},
    "tokens": {"prompt_computed": 5, "prompt_cached": 6, "generated": 7, "drafted": 8, "accepted": 9},
    "engine": {"steps": 4, "failed_steps": 23, "busy_s": 2.5, "last_step_s": 0.25,
               "parts": {"plan_s": 0.5, "forward_s": 1.5, "sample_s": 0.25, "draft_s": 0.125, "deliver_s": 0.0625}},
    "state_slots": {"total": 100, "live": 61, "snapshots": 20, "free": 19},
    "kv_pages": {"total": 200, "live": 157, "cached": 22, "free": 21, "page_tokens": 64},
    "prefix_cache": {"queries": 14, "hits": 15, "query_tokens": 17, "hit_tokens": 16, "evictions": 18}})");
  EXPECT_EQ(json::parse(status_json(r, {"m", "1", "cuda:0", 24}, 1.5, false)), expected);
}

}  // namespace
}  // namespace sluice
