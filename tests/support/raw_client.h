// A client that sends the bytes it is told to, for tests of servers: well-formed, broken, slow or half-closed.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <string_view>

namespace sluice::testing {

struct RawResponse {
  int status = 0;         // 0: none came
  std::string head;       // status line and headers
  std::string body;       // without chunk framing
  bool complete = false;  // the framing says that this is all

  std::string header(const std::string& name) const {
    const size_t at = head.find("\r\n" + name + ": ");
    if (at == std::string::npos) return {};
    const size_t begin = at + name.size() + 4;
    return head.substr(begin, head.find("\r\n", begin) - begin);
  }
};

class RawClient {
 public:
  // `receive_buffer`: small ones make a slow reader of a client that does not read.
  explicit RawClient(int port, int receive_buffer = 0) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer > 0) ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    if (port > 0) connect(port);
  }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;
  RawClient(RawClient&& o) noexcept : fd_(o.fd_), buffer_(std::move(o.buffer_)) { o.fd_ = -1; }
  ~RawClient() { close(); }

  bool connect(int port) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(uint16_t(port));
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int one = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return ::connect(fd_, reinterpret_cast<sockaddr*>(&a), sizeof a) == 0;
  }

  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(size_t(n));
    }
    return true;
  }
  void end_sending() { ::shutdown(fd_, SHUT_WR); }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  void reset() {
    const linger hard{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close();
  }

  // More bytes into the buffer; false at the end of the connection or after the time.
  bool receive(int timeout_ms = 5000) {
    pollfd p{fd_, POLLIN, 0};
    if (::poll(&p, 1, timeout_ms) <= 0) return false;
    char bytes[16384];
    const ssize_t n = ::recv(fd_, bytes, sizeof bytes, 0);
    if (n > 0) buffer_.append(bytes, size_t(n));
    closed_ |= n <= 0;
    return n > 0;
  }
  // Whether the other side ends the connection in time; what comes before is kept in buffer().
  bool closed_within(int timeout_ms) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
    while (!closed_ && std::chrono::steady_clock::now() < end) receive(20);
    return closed_;
  }
  bool read_until(std::string_view text, int timeout_ms = 5000) {
    while (buffer_.find(text) == std::string::npos) {
      if (!receive(timeout_ms)) return false;
    }
    return true;
  }
  const std::string& buffer() const { return buffer_; }

  // The next response; `without_body` for the answer to HEAD.
  RawResponse response(int timeout_ms = 5000, bool without_body = false) {
    RawResponse r;
    if (!read_until("\r\n\r\n", timeout_ms)) return r;
    r.head = take(buffer_.find("\r\n\r\n") + 4);
    r.status = std::atoi(r.head.c_str() + 9);
    if (without_body || r.status / 100 == 1 || r.status == 204 || r.status == 304) {
      r.complete = true;
    } else if (const std::string length = r.header("Content-Length"); !length.empty()) {
      const size_t n = size_t(std::atoll(length.c_str()));
      while (buffer_.size() < n && receive(timeout_ms)) {
      }
      r.complete = buffer_.size() >= n;
      r.body = take(std::min(n, buffer_.size()));
    } else if (r.header("Transfer-Encoding") == "chunked") {
      while (read_chunk(r, timeout_ms)) {
      }
    } else {
      while (receive(timeout_ms)) {
      }
      r.complete = closed_;
      r.body = take(buffer_.size());
    }
    return r;
  }
  // One request, one response.
  RawResponse ask(std::string_view request, int timeout_ms = 5000) {
    send(request);
    return response(timeout_ms, request.substr(0, 5) == "HEAD ");
  }
  RawResponse get(const std::string& path, const std::string& more_headers = {}) {
    return ask("GET " + path + " HTTP/1.1\r\nHost: x\r\n" + more_headers + "\r\n");
  }
  RawResponse post(const std::string& path, const std::string& body) {
    return ask("POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  }

 private:
  std::string take(size_t n) {
    std::string out = buffer_.substr(0, n);
    buffer_.erase(0, n);
    return out;
  }
  bool read_chunk(RawResponse& r, int timeout_ms) {
    if (!read_until("\r\n", timeout_ms)) return false;
    const size_t size = size_t(std::strtoull(buffer_.c_str(), nullptr, 16));
    const size_t begin = buffer_.find("\r\n") + 2;
    while (buffer_.size() < begin + size + 2) {
      if (!receive(timeout_ms)) return false;
    }
    r.body += take(begin + size + 2).substr(begin, size);
    r.complete = size == 0;
    return size > 0;
  }

  int fd_;
  bool closed_ = false;
  std::string buffer_;
};

}  // namespace sluice::testing
