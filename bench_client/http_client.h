// The requests of one thread: a connection for each that is in flight, kept for those that follow.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
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

  // GET, for what is asked once.
  struct Page {
    int status = 0;  // 0: `error` says why
    std::string body, error;
  };
  boost::asio::awaitable<void> get(std::string path, Page& page);

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
