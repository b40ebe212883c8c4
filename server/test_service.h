// A service over the demo model, with any chat template, for the tests of this folder.
#pragma once

#include <gtest/gtest.h>

#include <boost/json/value.hpp>
#include <memory>
#include <string>

#include "io/json.h"
#include "server/service.h"

namespace sluice::testing {

inline std::string read_file(const std::string& path) {
  auto text = read_small_file(path, size_t(64) << 20);
  EXPECT_TRUE(text.ok()) << text.status().to_string();
  return text.ok() ? *text : "";
}

// Of Qwen3.5's form: calls in XML, the prompt opens <think> unless enable_thinking is false.
inline std::string xml_template() { return read_file(SLUICE_TEST_DATA "/oracles/tokenizer/chat_template_b.jinja"); }
// Of Qwen3's form: calls in JSON.
inline std::string hermes_template() {
  const auto config = parse_json(read_file(SLUICE_TEST_DATA "/oracles/tokenizer/tokenizer_config.json"), "tokenizer_config.json");
  return config.ok() ? std::string(config->at("chat_template").as_string()) : "";
}

// lose_device_after: steps; from then on they fail.
inline std::unique_ptr<Service> demo_service(const std::string& chat_template, int64_t lose_device_after = 0) {
  const std::string dir = SLUICE_SOURCE_DIR "/demo/model";
  auto engine = Engine::create({.model = dir, .threads = 1, .max_context = 512, .lose_device_after = lose_device_after});
  auto tokenizer = Tokenizer::load(dir);
  auto chat = ChatTemplate::parse(chat_template);
  EXPECT_TRUE(engine.ok()) << engine.status().to_string();
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().to_string();
  EXPECT_TRUE(chat.ok()) << chat.status().to_string();
  if (!engine.ok() || !tokenizer.ok() || !chat.ok()) return nullptr;
  ServiceTexts texts{std::move(*tokenizer), std::move(*chat), {}, {2045}};
  return std::make_unique<Service>(std::move(*engine), std::move(texts), ServiceOptions{.names = {"demo"}});
}

inline boost::json::value json_of(const std::string& text) {
  auto v = parse_json(text, "test");
  EXPECT_TRUE(v.ok()) << v.status().to_string();
  return v.ok() ? *v : nullptr;
}

}  // namespace sluice::testing
