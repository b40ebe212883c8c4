// Every route that the program serves, walked as the router has them: which are open to whom.
#include "server/routes.h"

#include <set>

#include "server/test_server.h"
#include "server/test_service.h"

namespace sluice {
namespace {

using testing::RawClient;
using testing::RawResponse;

class Routes : public ::testing::Test {
 protected:
  void SetUp() override { serve(testing::demo_service(testing::hermes_template())); }
  void serve(std::unique_ptr<Service> service) {
    server_.reset();
    service_ = std::move(service);
    ASSERT_NE(service_, nullptr);
    Router router;
    const Status added =
        add_all_routes(router, *service_, {.device = "cpu", .needs_key = true, .counters = [] { return nullptr; }});
    ASSERT_TRUE(added.ok()) << added.to_string();
    routes_ = router.routes();
    HttpOptions options{.port = 0, .api_keys = {"a-secret-key"}, .allowed_hosts = std::vector<std::string>()};
    auto started = HttpServer::start(std::move(options), std::move(router));
    ASSERT_TRUE(started.ok()) << started.status().to_string();
    server_ = std::move(*started);
  }
  // Asks every route; says of each path that is not refused with `status` by "METHOD /path".
  std::set<std::string> not_refused(int status, const std::string& headers, const std::string& query = {}) {
    std::set<std::string> open;
    for (const Route& route : routes_) {
      std::string path = route.pattern;
      for (size_t brace; (brace = path.find('{')) != std::string::npos;) path.replace(brace, path.find('}') + 1 - brace, "x");
      RawClient client(server_->port());
      const RawResponse r =
          client.ask(route.method + " " + path + query + " HTTP/1.1\r\nContent-Length: 2\r\n" + headers + "\r\n{}");
      if (r.status != status) open.insert(route.method + " " + route.pattern);
    }
    return open;
  }
  // The probes, and the page's own files.
  std::set<std::string> open_routes() const {
    std::set<std::string> open = {"GET /health", "GET /ready", "GET /"};
    for (const Route& route : routes_)
      if (route.pattern.starts_with("/web/")) open.insert(route.method + " " + route.pattern);
    return open;
  }
  std::unique_ptr<Service> service_;
  std::vector<Route> routes_;
  std::unique_ptr<HttpServer> server_;
};

const std::string kHost = "Host: localhost\r\n";

TEST_F(Routes, AllButTheProbesAndThePageNeedAKey) {
  ASSERT_GT(routes_.size(), 20u);
  const std::set<std::string> open = open_routes();
  for (const std::string wrong :
       {"", "Authorization: Bearer a-secret-kez\r\n", "Authorization: a-secret-key\r\n", "Authorization: Basic a-secret-key\r\n",
        "Authorization: Bearer a-secret-key, Bearer a-secret-key\r\n", "X-Api-Key: A-SECRET-KEY\r\n", "Api-Key: a-secret-key\r\n",
        "Cookie: api_key=a-secret-key\r\n"})
    EXPECT_EQ(not_refused(401, kHost + wrong), open) << wrong;
  EXPECT_EQ(not_refused(401, kHost, "?api_key=a-secret-key&key=a-secret-key"), open);
  for (const std::string right :
       {"Authorization: Bearer a-secret-key\r\n", "authorization: bearer a-secret-key\r\n", "x-api-key: a-secret-key\r\n"})
    EXPECT_EQ(not_refused(401, kHost + right).size(), routes_.size()) << right;
}

TEST_F(Routes, AllButTheProbesAndThePageNeedAHostOfTheirs) {
  EXPECT_EQ(not_refused(403, "Host: rebound.example\r\nX-Api-Key: a-secret-key\r\n"), open_routes());
}

TEST_F(Routes, NothingIsServedOnceTheDeviceIsLost) {
  serve(testing::demo_service(testing::hermes_template(), 5));
  RawClient client(server_->port());
  const auto complete = [&](const std::string& more) {
    const std::string body = R"({"prompt": "Hi", "max_tokens": 50, "ignore_eos": true)" + more + "}";
    return client.ask("POST /v1/completions HTTP/1.1\r\n" + kHost +
                      "X-Api-Key: a-secret-key\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  };
  const auto ready = [&] { return client.ask("GET /ready HTTP/1.1\r\n" + kHost + "\r\n").status; };
  EXPECT_EQ(ready(), 200);
  const RawResponse running = complete("");
  EXPECT_EQ(running.status, 503);
  EXPECT_NE(running.body.find("the device is lost"), std::string::npos) << running.body;
  EXPECT_TRUE(testing::eventually([&] { return ready() == 503; }));
  EXPECT_EQ(complete("").status, 503);
  EXPECT_EQ(complete(R"(, "stream": true)").status, 503);
  EXPECT_EQ(client.ask("GET /health HTTP/1.1\r\n" + kHost + "\r\n").status, 200);
}

}  // namespace
}  // namespace sluice
