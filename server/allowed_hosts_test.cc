#include "server/allowed_hosts.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(AllowedHosts, TheMachinesOwnNamesWithAnyPort) {
  const AllowedHosts hosts(std::vector<std::string>{});
  for (const char* good :
       {"localhost", "LocalHost:8080", "127.0.0.1", "127.0.0.1:1", "127.1.2.3", "[::1]", "[::1]:8080", "::1", ""})
    EXPECT_TRUE(hosts.allow(good)) << good;
  for (const char* bad : {"evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "notlocalhost",
                          "10.0.0.1", "0.0.0.0", "[::2]:8080", "[::1", "[]", ":", "*", "localhost:8080:1"})
    EXPECT_FALSE(hosts.allow(bad)) << bad;
}

TEST(AllowedHosts, NamesThatAreGiven) {
  const AllowedHosts hosts({"llm.example.com", "10.0.0.1"});
  for (const char* good : {"llm.example.com", "LLM.example.com:443", "10.0.0.1:80", "localhost"})
    EXPECT_TRUE(hosts.allow(good)) << good;
  for (const char* bad : {"example.com", "a.llm.example.com", "10.0.0.2"}) EXPECT_FALSE(hosts.allow(bad)) << bad;
}

TEST(AllowedHosts, Any) {
  EXPECT_TRUE(AllowedHosts().allow("evil.example"));
  EXPECT_TRUE(AllowedHosts({"a", "*"}).allow("evil.example"));
}

}  // namespace
}  // namespace sluice
