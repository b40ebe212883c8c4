#include "server/served_model.h"

#include <algorithm>

namespace sluice {

ServedModel::ServedModel(ServiceTexts texts, ServiceOptions options, int64_t vocab_size, int64_t max_context)
    : options_(std::move(options)),
      texts_(std::move(texts)),
      tool_format_(texts_.chat ? sluice::tool_format(texts_.chat->source()) : ToolFormat::kNone),
      vocab_size_(vocab_size),
      max_context_(max_context) {}

bool ServedModel::has_name(std::string_view name) const { return std::ranges::count(options_.names, name) > 0; }

Reasoning ServedModel::reasoning(std::string_view prompt) const {
  return texts_.chat ? reasoning_of(texts_.chat->source(), prompt) : Reasoning::kOff;
}

}  // namespace sluice
