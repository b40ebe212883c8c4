// The requests of one thread: a connection for each that is in flight, kept for those that follow.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "bench_client/arrivals.h"
#include "bench_client/record.h"
#include "bench_client/url.h"
#include "bench_client/workload.h"

namespace sluice::bench {

struct ClientOptions {
  ServerUrl url;
  std::string api_key;
  double timeout_s = 600;  // without a byte, or until connected
};

class HttpClient {
 public:
  using Endpoints = std::vector<boost::asio::ip::tcp::endpoint>;

  HttpClient(boost::asio::io_context& io, const ClientOptions& options, Endpoints endpoints);
  ~HttpClient();

  // Sends a request and reads its answer to the end. Times in `record` count from `zero` (see now_seconds()); `text` gets the
  // answer.
  boost::asio::awaitable<void> ask(const RequestText& request, double zero, RequestRecord& record, std::string& text);

  // For what is not measured. The client may leave before the answer is whole, as users do.
  struct Call {
    std::string method = "GET", path = {}, body = {};
    double leave_after_s = kInf;
    size_t leave_after_bytes = SIZE_MAX;  // of the answer's body
  };
  struct Page {
    int status = 0;  // 0: `error` says why
    std::string body, error;
    bool left = false;
  };
  boost::asio::awaitable<void> call(Call call, Page& page);

 private:
  struct Connection;
  struct Exchange;
  std::unique_ptr<Connection> connection();
  boost::asio::awaitable<void> try_once(Exchange& e, std::unique_ptr<Connection> c);

  boost::asio::io_context& io_;
  const ClientOptions& options_;
  Endpoints endpoints_;
  std::vector<std::unique_ptr<Connection>> idle_;
};

Result<HttpClient::Endpoints> resolve(const ServerUrl& url);

}  // namespace sluice::bench
