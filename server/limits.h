// The limits of the HTTP server: each with its flag, unit, default and reason, in one place. The command line offers every one as a
// flag and `doctor` lists them (each_limit).
#pragma once

#include <cstdint>

namespace sluice {

struct HttpLimit {
  const char* flag;
  const char* unit;
  const char* reason;
  int64_t value;
  int64_t max = int64_t{1} << 40;  // the least is 1 for all

  operator int64_t() const { return value; }  // NOLINT: a limit is read as its number
  HttpLimit& operator=(int64_t v) {
    value = v;
    return *this;
  }
};

struct HttpLimits {
  HttpLimit io_threads{"http-threads", "threads", "parsing and sending need little; the cores are the model's", 2, 64};
  HttpLimit listen_backlog{"http-backlog", "connections", "a burst waits in the kernel instead of being refused", 1024, 65535};
  HttpLimit max_connections{"max-connections", "connections", "each costs a descriptor and a few KiB; further ones get 503", 1024,
                            1 << 20};
  HttpLimit max_connections_per_peer{"max-connections-per-peer", "connections",
                                     "one remote address must not take all connections; loopback is exempt", 128, 1 << 20};

  HttpLimit max_header_bytes{"max-header-bytes", "bytes", "request line and headers are held in memory before they are judged",
                             16384, 1 << 20};
  HttpLimit max_header_fields{"max-header-fields", "fields", "look-ups are linear", 64, 10000};
  HttpLimit max_target_bytes{"max-target-bytes", "bytes", "no route has a long path or query", 8192, 1 << 20};
  HttpLimit header_timeout_ms{"header-timeout", "ms", "a client that trickles its header holds a connection no longer than this",
                              10000};

  HttpLimit max_body_bytes{"max-body-bytes", "bytes", "prompts of a long context fit; more is refused before it is read", 8 << 20};
  HttpLimit max_body_bytes_total{"max-body-bytes-total", "bytes", "bodies of all running requests together; more gets 503",
                                 256 << 20};
  HttpLimit body_timeout_ms{"body-timeout", "ms", "the longest time that a body may take", 30000};
  HttpLimit body_min_rate{"body-min-rate", "bytes/s", "slower bodies are an attack or a dead link", 1024};
  HttpLimit body_rate_grace_ms{"body-rate-grace", "ms", "the rate counts from here on, so that a slow start is no fault", 5000};

  HttpLimit keep_alive_timeout_ms{"keep-alive-timeout", "ms", "how long a connection may be idle between two requests", 60000};
  HttpLimit write_stall_ms{"write-stall", "ms", "a client must take each 64 KiB within this time, or it is dropped", 30000};
  HttpLimit max_stream_queue_bytes{"max-stream-queue-bytes", "bytes",
                                   "500 clients that do not read cost at most 64 MiB; one over this is dropped", 128 << 10};
  HttpLimit heartbeat_ms{"heartbeat", "ms", "proxies close streams that are silent for a minute", 15000};
  HttpLimit linger_ms{"linger", "ms",
                      "after the last answer the socket still takes what the client sends, or it would lose the answer", 1000};

  HttpLimit retry_after_s{"retry-after", "s", "what a 503 asks the client to wait", 1};
  HttpLimit drain_grace_ms{"drain-grace", "ms", "after a drain's deadline, the time for a last chunk before connections are cut",
                           500};
};

// f(limit) for every field, in order; Limits is HttpLimits or const HttpLimits.
template <class Limits, class F>
void each_limit(Limits& l, F f) {
  f(l.io_threads), f(l.listen_backlog), f(l.max_connections), f(l.max_connections_per_peer);
  f(l.max_header_bytes), f(l.max_header_fields), f(l.max_target_bytes), f(l.header_timeout_ms);
  f(l.max_body_bytes), f(l.max_body_bytes_total), f(l.body_timeout_ms), f(l.body_min_rate), f(l.body_rate_grace_ms);
  f(l.keep_alive_timeout_ms), f(l.write_stall_ms), f(l.max_stream_queue_bytes), f(l.heartbeat_ms), f(l.linger_ms);
  f(l.retry_after_s), f(l.drain_grace_ms);
}

}  // namespace sluice
