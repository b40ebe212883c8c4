// Streams, their clients' ways to leave, and the end of a server under load.
#include <random>

#include "server/exchange.h"
#include "server/test_server.h"

namespace sluice {
namespace {

using testing::eventually;
using testing::milliseconds;
using testing::RawClient;
using testing::TestServer;

using Clock = std::chrono::steady_clock;

int ms_since(Clock::time_point t) { return int(std::chrono::duration_cast<milliseconds>(Clock::now() - t).count()); }

const std::string kWait = "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n";

Responder begin(TestServer& s, RawClient& c, const std::string& request = kWait) {
  c.send(request);
  Responder a = s.waiting();
  a.begin_sse();
  return a;
}

TEST(HttpStream, EventsArriveAsTheyAreWritten) {
  TestServer s;
  RawClient c(s.port());
  const Responder a = begin(s, c);
  ASSERT_TRUE(c.read_until("\r\n\r\n"));
  EXPECT_NE(c.buffer().find("Content-Type: text/event-stream\r\n"), std::string::npos);
  EXPECT_NE(c.buffer().find("X-Accel-Buffering: no\r\n"), std::string::npos);
  EXPECT_EQ(s.counters().streams_open, 1);
  for (int i = 0; i < 20; ++i) {
    const std::string event = sse_event("{\"n\":" + std::to_string(i) + "}");
    EXPECT_EQ(a.write(event), WriteResult::kOk);
    ASSERT_TRUE(c.read_until(event)) << i;  // before the next is written
  }
  a.write(sse_event("[DONE]"));
  a.finish();
  EXPECT_EQ(a.write("late"), WriteResult::kGone);
  const auto r = c.response();
  EXPECT_TRUE(r.complete);
  EXPECT_EQ(r.body.substr(r.body.size() - 14), "data: [DONE]\n\n");
  EXPECT_EQ(s.cancels, 0);
  EXPECT_EQ(c.get("/health").body, "ok");  // the connection stays
  EXPECT_TRUE(eventually([&] { return s.counters().streams_open == 0; }));
}

TEST(HttpStream, Http10EndsAStreamWithTheConnection) {
  TestServer s;
  RawClient c(s.port());
  const Responder a = begin(s, c, "GET /wait HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  a.write("one ");
  a.write("two");
  a.finish();
  const auto r = c.response();
  EXPECT_EQ(r.header("Transfer-Encoding"), "");
  EXPECT_EQ(r.header("Connection"), "close");
  EXPECT_EQ(r.body, "one two");
}

TEST(HttpStream, AForgottenStreamIsVisiblyCut) {
  TestServer s;
  RawClient c(s.port());
  Responder a = begin(s, c);
  a.write(sse_event("x"));
  a = {};
  const auto r = c.response();
  EXPECT_EQ(r.body, "data: x\n\n");
  EXPECT_FALSE(r.complete);
  EXPECT_TRUE(c.closed_within(1000));
}

TEST(HttpStream, SilentStreamsGetAComment) {
  TestServer s([](HttpOptions& o) { o.limits.heartbeat_ms = 60; });
  RawClient c(s.port());
  const auto start = Clock::now();
  const Responder a = begin(s, c);
  ASSERT_TRUE(c.read_until(": keep-alive\n\n"));
  EXPECT_GE(ms_since(start), 55);
  a.write("data: half an event");
  std::this_thread::sleep_for(milliseconds(200));
  a.write(" and the rest\n\n");  // no comment came between
  ASSERT_TRUE(c.read_until("rest\n\n"));
  ASSERT_TRUE(c.read_until(": keep-alive\n\n"));
  a.finish();
  const auto r = c.response();
  EXPECT_NE(r.body.find("data: half an event and the rest\n\n"), std::string::npos) << r.body;
  EXPECT_TRUE(r.complete);
}

TEST(HttpStream, AClientThatLeavesIsNoticedWhileNothingIsWritten) {
  TestServer s;
  for (int i = 0; i < 4; ++i) {
    RawClient c(s.port());
    const Responder a = begin(s, c);
    ASSERT_TRUE(c.read_until("\r\n\r\n"));
    const auto start = Clock::now();
    if (i == 0) c.close();
    if (i == 1) c.reset();
    if (i == 2) c.end_sending();  // as good as gone
    if (i == 3) c.send("GET /health HTT"), c.close();
    EXPECT_TRUE(eventually([&] { return s.cancels == i + 1; }));
    EXPECT_LT(ms_since(start), 1000);
    EXPECT_EQ(s.last_cancel, CancelReason::kClientGone);
    EXPECT_EQ(a.write("x"), WriteResult::kGone);
  }
  EXPECT_TRUE(eventually([&] { return s.counters().connections_open == 0; }));
}

TEST(HttpStream, AClientThatDoesNotReadIsDroppedAtTheQueuesLimit) {
  TestServer s([](HttpOptions& o) { o.limits.max_stream_queue_bytes = 64 << 10; });
  RawClient c(s.port(), 4096);
  const Responder a = begin(s, c);
  const std::string piece(8 << 10, 'x');
  int64_t taken = 0;
  bool was_slow = false;
  for (WriteResult r = WriteResult::kOk; (r = a.write(piece)) != WriteResult::kGone;
       std::this_thread::sleep_for(std::chrono::microseconds(200))) {
    taken += int64_t(piece.size());
    was_slow |= r == WriteResult::kSlow;
    ASSERT_LT(taken, 64 << 20);  // the kernel takes some MiB; we, 64 KiB more
  }
  EXPECT_TRUE(was_slow);
  EXPECT_EQ(s.last_cancel, CancelReason::kSlowReader);
  EXPECT_TRUE(eventually([&] { return s.counters().connections_open == 0; }));
  EXPECT_EQ(s.counters().cancelled_slow_reader, 1);
  EXPECT_LE(taken - s.counters().bytes_out, 64 << 10);
}

// What a client does not read waits in our queue, which has a limit, and not in megabytes of the kernel's.
TEST(HttpStream, TheKernelTakesLittleForAClientThatDoesNotRead) {
  TestServer s;
  RawClient c(s.port(), 4096);
  const Responder a = begin(s, c);
  a.write(std::string(8 << 20, 'x'));
  EXPECT_TRUE(eventually([&] { return s.counters().bytes_out > 100 << 10; }));
  std::this_thread::sleep_for(milliseconds(300));
  EXPECT_LT(s.counters().bytes_out, 1 << 20);
}

TEST(HttpStream, WhatIsBeingWrittenCountsAsQueued) {
  for (const bool written : {false, true}) {
    int wakes = 0;
    Exchange e([&] { ++wakes; }, 100, false);
    e.begin_stream({}, {});
    EXPECT_EQ(e.write(std::string(60, 'x')), WriteResult::kSlow);
    EXPECT_EQ(e.take().pieces.size(), 60u);
    if (written) e.written();
    EXPECT_EQ(e.write(std::string(60, 'x')), written ? WriteResult::kSlow : WriteResult::kGone);
    EXPECT_EQ(wakes, 1);  // the connection looks by itself at first
  }
}

TEST(HttpStream, AnEmptyQueueTakesAPieceOfAnySize) {
  TestServer s([](HttpOptions& o) { o.limits.max_stream_queue_bytes = 1000; });
  RawClient c(s.port());
  const Responder a = begin(s, c);
  const std::string large(3000000, 'y');
  EXPECT_EQ(a.write(large), WriteResult::kSlow);
  std::thread reader([&] { EXPECT_EQ(c.response().body, large); });
  a.finish();
  reader.join();
}

TEST(HttpStream, ARepetitionIsTakenAtAnySizeAndRaisesTheLimit) {
  for (const size_t waiting : {0u, 100u, 500u}) {
    Exchange e([] {}, 100, false);
    e.begin_stream({}, {});
    e.write(std::string(waiting, 'x'));
    EXPECT_NE(e.write_repeat(std::string(300, 'y')), WriteResult::kGone);
    const size_t room = waiting == 500 ? 0 : 100 - waiting;
    EXPECT_NE(e.write(std::string(room, 'z')), WriteResult::kGone);
    EXPECT_EQ(e.write("z"), WriteResult::kGone);
    EXPECT_EQ(e.cancelled(), CancelReason::kSlowReader);
    EXPECT_EQ(e.write_repeat("y"), WriteResult::kGone);
  }
}

TEST(HttpStream, AClientThatDoesNotReadIsDroppedAtItsTime) {
  TestServer s(
      [](HttpOptions& o) { o.limits.write_stall_ms = 300; },
      [](Router& r) { r.add("GET", "/large", [](HttpRequest, Responder a) { a.respond(200, {}, std::string(64 << 20, 'z')); }); });
  RawClient in_stream(s.port(), 4096), in_response(s.port(), 4096);
  const auto start = Clock::now();
  in_response.send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
  const Responder a = begin(s, in_stream);
  a.write(std::string(64 << 20, 'x'));
  EXPECT_TRUE(eventually([&] { return s.cancels == 1 && s.counters().connections_open == 0; }));
  EXPECT_GE(ms_since(start), 290);
  EXPECT_EQ(s.last_cancel, CancelReason::kSlowReader);
  EXPECT_EQ(s.counters().cancelled_slow_reader, 2);
}

// Writers on their own threads; clients that leave at any time. For ThreadSanitizer above all.
TEST(HttpStream, ClientsThatLeaveAtRandomDisturbNobody) {
  TestServer s({}, [&](Router& r) {
    r.add("GET", "/count", [&s](HttpRequest, Responder a) {
      s.run_thread([a, &s] {
        std::atomic<bool> gone{false};
        const auto flag = std::make_shared<std::atomic<bool>>(false);
        a.on_cancel([flag](CancelReason) { *flag = true; });
        a.begin_sse();
        for (int i = 0; i < 200 && !*flag && !s.stopped(); ++i) {
          if (a.write(sse_event(std::to_string(i))) == WriteResult::kGone) return;
          if (i % 8 == 0) std::this_thread::sleep_for(std::chrono::microseconds(500));
        }
        a.finish();
      });
    });
  });
  std::atomic<int> whole{0};
  std::vector<std::thread> clients;
  for (int t = 0; t < 6; ++t) {
    clients.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      for (int i = 0; i < 20; ++i) {
        RawClient c(s.port());
        c.send("GET /count HTTP/1.1\r\nHost: x\r\n\r\n");
        const unsigned way = random() % 4;
        if (way == 0) continue;
        if (way == 1) {
          std::this_thread::sleep_for(std::chrono::microseconds(random() % 20000));
          c.reset();
          continue;
        }
        const auto r = c.response();
        EXPECT_TRUE(r.complete);
        EXPECT_NE(r.body.find("data: 199\n\n"), std::string::npos);
        ++whole;
      }
    });
  }
  for (std::thread& t : clients) t.join();
  EXPECT_GT(whole, 20);
  EXPECT_TRUE(eventually([&] { return s.counters().connections_open == 0 && s.counters().requests_running == 0; }));
  EXPECT_EQ(s.counters().streams_open, 0);
  EXPECT_GT(s.counters().cancelled_client_gone, 0);
  EXPECT_LE(s.counters().cancelled_client_gone + s.counters().cancelled_slow_reader + whole, 120);
}

TEST(HttpDrain, LetsRunningRequestsEndAndTakesNoMore) {
  TestServer s;
  RawClient stream(s.port()), answer(s.port()), idle(s.port());
  const Responder a = begin(s, stream);
  answer.send(kWait);
  const Responder b = s.waiting();
  idle.get("/health");
  int cut = -1;
  const auto start = Clock::now();
  std::thread drain([&] { cut = s->drain(milliseconds(5000)); });
  ASSERT_TRUE(eventually([&] { return s->draining(); }));
  EXPECT_TRUE(idle.closed_within(1000));
  const auto fresh = [&](const std::string& path) {
    RawClient c(s.port());
    return c.get(path);
  };
  EXPECT_EQ(fresh("/ready").status, 503);
  EXPECT_EQ(fresh("/health").status, 200);
  const auto refused = fresh("/echo/x");
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.header("Retry-After"), "1");
  EXPECT_EQ(refused.header("Connection"), "close");
  EXPECT_EQ(s.counters().count(Rejected::kDraining), 1);
  a.write(sse_event("last"));
  a.finish();
  EXPECT_TRUE(stream.response().complete);
  b.respond(200, {}, "whole");
  EXPECT_EQ(answer.response().body, "whole");
  drain.join();
  EXPECT_EQ(cut, 0);
  EXPECT_LT(ms_since(start), 4000);
  EXPECT_EQ(s.cancels, 0);
  RawClient late(0);
  EXPECT_FALSE(late.connect(s.port()));
}

TEST(HttpDrain, CutsAtTheDeadlineWithALastEvent) {
  TestServer s;
  RawClient polite(s.port()), deaf(s.port());
  const Responder a = begin(s, polite), b = begin(s, deaf);
  a.on_cancel([&](CancelReason reason) {  // in place of the counting one
    EXPECT_EQ(reason, CancelReason::kShutdown);
    EXPECT_EQ(a.write(sse_event("aborted")), WriteResult::kOk);
    a.finish();
  });
  const auto start = Clock::now();
  EXPECT_EQ(s->drain(milliseconds(200)), 2);
  EXPECT_GE(ms_since(start), 200 + 500);
  EXPECT_LT(ms_since(start), 3000);
  const auto r = polite.response();
  EXPECT_TRUE(r.complete);
  EXPECT_EQ(r.body, "data: aborted\n\n");
  EXPECT_FALSE(deaf.response().complete);
  EXPECT_EQ(s.last_cancel, CancelReason::kShutdown);
  EXPECT_EQ(b.write("x"), WriteResult::kGone);
  EXPECT_EQ(s.counters().cancelled_shutdown, 2);
}

TEST(HttpDrain, StopEndsADrainAtOnce) {
  TestServer s;
  RawClient c(s.port());
  const Responder a = begin(s, c);
  std::thread drain([&] { s->drain(milliseconds(60000)); });
  ASSERT_TRUE(eventually([&] { return s->draining(); }));
  const auto start = Clock::now();
  s->stop();
  drain.join();
  EXPECT_LT(ms_since(start), 1000);
}

TEST(HttpDrain, MayCloseTheSocketAtOnce) {
  TestServer s([](HttpOptions& o) { o.listen_while_draining = false; });
  RawClient c(s.port());
  const Responder a = begin(s, c);
  std::thread drain([&] { s->drain(milliseconds(5000)); });
  EXPECT_TRUE(eventually([&] {
    RawClient late(0);
    return !late.connect(s.port());
  }));
  a.finish();
  EXPECT_TRUE(c.response().complete);
  drain.join();
}

TEST(HttpDrain, UnderLoadNoAnswerIsCutShort) {
  TestServer s;
  std::atomic<int> whole{0}, refused{0}, cut_short{0};
  std::atomic<bool> go_on{true};
  std::vector<std::thread> clients;
  for (int t = 0; t < 4; ++t) {
    clients.emplace_back([&] {
      while (go_on) {
        RawClient c(0);
        if (!c.connect(s.port())) return;
        for (int i = 0; i < 10 && go_on; ++i) {
          const auto r = c.post("/body", std::string(20000, 'q'));
          if (r.status == 200 && !r.complete) ++cut_short;
          if (r.status == 200 && r.complete) ++whole;
          if (r.status == 503) ++refused;
          if (r.status != 200) break;
        }
      }
    });
  }
  ASSERT_TRUE(eventually([&] { return whole > 50; }));
  RawClient held(s.port());
  const Responder a = begin(s, held);
  std::thread drain([&] { EXPECT_EQ(s->drain(milliseconds(5000)), 0); });
  ASSERT_TRUE(eventually([&] { return refused > 0; }));
  a.finish();
  drain.join();
  go_on = false;
  for (std::thread& t : clients) t.join();
  EXPECT_EQ(cut_short, 0);
  EXPECT_EQ(s.counters().requests_running, 0);
}

}  // namespace
}  // namespace sluice
