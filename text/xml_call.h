// The tags of a call in Qwen's XML form, as they are recognised in text that is still coming.
//
//   <tool_call>
//   <function=NAME>
//   <parameter=KEY>
//   VALUE
//   </parameter>
//   </function>
//   </tool_call>
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "text/markup.h"
#include "text/tool_schema.h"

namespace sluice {

// What follows a call's name or a value.
enum class XmlNext {
  kParameter,    // `key` says which
  kFunctionEnd,  // </function>
  kCallEnd,      // </tool_call>, the </function> left out
  kTextEnd,
};

struct XmlHead {
  std::string name;
  XmlNext next = XmlNext::kTextEnd;
  std::string key;
  size_t length = 0;  // up to and with the tag of `next`
};

// [<tool_call>] <function=NAME> and the tag after it, with only white space between; NAME is one of `tools`. Longer than about
// 700 bytes it is not.
Match match_xml_head(std::string_view text, bool whole, const ToolSchemas& tools, XmlHead& head);

struct XmlBoundary {
  XmlNext next = XmlNext::kTextEnd;
  std::string key;
  size_t length = 0;
};

// Whether a value ends before this '<'. </parameter> ends it only where another parameter, the call's end or the text's end
// follows, because values may speak of </parameter>. A model may leave </parameter> out: at the start of a line a declared
// parameter that has not come yet (`is_due`), </function> before </tool_call> and </tool_call> before <tool_call> (or either at the
// end of the text) end the value too.
Match match_xml_boundary(std::string_view text, bool whole, bool line_start, const std::function<bool(std::string_view)>& is_due,
                         XmlBoundary& boundary);

}  // namespace sluice
