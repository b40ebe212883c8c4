// How every answer of OpenAI's APIs begins.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <string>

#include "server/served_model.h"

namespace sluice {

struct AnswerHead {
  std::string id, object;
  int64_t created = 0;
  std::string model;
  boost::json::object start() const;
};
AnswerHead answer_head(const std::string& prefix, const std::string& request_id, const std::string& object,
                       const ServedModel& served);

// prefix, then letters and digits that do not come again.
std::string random_id(const std::string& prefix);

}  // namespace sluice
