#include "text/xml_call.h"

namespace sluice {
namespace {

// A tag that may stand between parameters.
bool read_next(MarkupReader& reader, XmlNext& next, std::string& key) {
  std::string_view name;
  if (reader.literal(kParameterOpen)) {
    next = XmlNext::kParameter;
    if (!reader.name(name)) return false;
    key = name;
    return true;
  }
  next = XmlNext::kFunctionEnd;
  if (reader.literal(kFunctionClose)) return true;
  next = XmlNext::kCallEnd;
  return reader.literal(kCallClose);
}

bool read_head(MarkupReader& reader, const ToolSchemas& tools, XmlHead& head) {
  const bool wrapped = reader.literal(kCallOpen);
  if (wrapped) reader.spaces();
  std::string_view name;
  if (!reader.literal(kFunctionOpen) || !reader.name(name) || !tools.find(name)) return false;
  head.name = name;
  reader.spaces();
  if (!read_next(reader, head.next, head.key)) return false;
  return wrapped || head.next != XmlNext::kCallEnd;
}

bool read_closed_value(MarkupReader& reader, XmlBoundary& boundary) {
  if (!reader.literal(kParameterClose)) return false;
  reader.spaces();
  boundary.length = reader.taken();
  if (!read_next(reader, boundary.next, boundary.key)) return false;
  boundary.length = reader.taken();
  return true;
}

// The text may end in the tag after </parameter>: the value is ended all the same, and the begun tag is left.
Match match_closed_value(std::string_view text, bool whole, XmlBoundary& boundary) {
  MarkupReader reader(text, false);
  const Match match = reader.result(read_closed_value(reader, boundary));
  if (match != Match::kNeedMore || !whole) return match;
  boundary.next = XmlNext::kTextEnd;
  return boundary.length > 0 ? Match::kYes : Match::kNo;
}

bool read_unclosed_value(MarkupReader& reader, const std::function<bool(std::string_view)>& is_due, XmlBoundary& boundary) {
  if (!read_next(reader, boundary.next, boundary.key)) return false;
  boundary.length = reader.taken();
  if (boundary.next == XmlNext::kParameter) return is_due(boundary.key);
  // The tag that must follow is not part of the boundary.
  reader.spaces();
  return reader.at_end() || reader.literal(boundary.next == XmlNext::kFunctionEnd ? kCallClose : kCallOpen);
}

}  // namespace

Match match_xml_head(std::string_view text, bool whole, const ToolSchemas& tools, XmlHead& head) {
  MarkupReader reader(text, whole);
  const bool matched = read_head(reader, tools, head);
  head.length = reader.taken();
  return reader.result(matched);
}

Match match_xml_boundary(std::string_view text, bool whole, bool line_start, const std::function<bool(std::string_view)>& is_due,
                         XmlBoundary& boundary) {
  const Match match = match_closed_value(text, whole, boundary);
  if (match != Match::kNo || !line_start) return match;
  MarkupReader unclosed(text, whole);
  return unclosed.result(read_unclosed_value(unclosed, is_due, boundary));
}

}  // namespace sluice
