#include "server/answer_head.h"

#include <fmt/format.h>

#include <ctime>
#include <random>

namespace sluice {

AnswerHead answer_head(const std::string& prefix, const std::string& request_id, const std::string& object,
                       const ServedModel& served) {
  return {request_id.empty() ? random_id(prefix) : prefix + request_id, object, int64_t(std::time(nullptr)), served.name()};
}

boost::json::object AnswerHead::start() const { return {{"id", id}, {"object", object}, {"created", created}, {"model", model}}; }

std::string random_id(const std::string& prefix) {
  std::random_device device;
  return fmt::format("{}{:08x}{:08x}{:08x}", prefix, device(), device(), device());
}

}  // namespace sluice
