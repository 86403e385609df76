#include "yaml_value.h"

#include "text.h"

#include <cairn/error.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <string>
#include <utility>
#include <yaml.h>

namespace cairn::cli {
namespace {

constexpr std::string_view kTagPrefix = "tag:yaml.org,2002:";

bool is_one_of(std::string_view text, std::span<const std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

constexpr std::string_view kTrue[] = {"true", "True", "TRUE", "yes", "Yes",
                                      "YES",  "on",   "On",   "ON"};
constexpr std::string_view kFalse[] = {"false", "False", "FALSE", "no", "No",
                                       "NO",    "off",   "Off",   "OFF"};
constexpr std::string_view kNull[] = {"", "~", "null", "Null", "NULL"};
constexpr std::string_view kInfinity[] = {".inf", ".Inf", ".INF"};
constexpr std::string_view kNan[] = {".nan", ".NaN", ".NAN"};

class Event {
 public:
  Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { yaml_event_delete(&event_); }
  yaml_event_t* operator->() { return &event_; }
  yaml_event_t& get() { return event_; }

 private:
  yaml_event_t event_{};
};

class YamlReader {
 public:
  YamlReader(std::string_view text, const std::filesystem::path& file) : file_(file) {
    if (yaml_parser_initialize(&parser_) == 0) throw std::bad_alloc();
    yaml_parser_set_encoding(&parser_, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser_, reinterpret_cast<const unsigned char*>(text.data()),
                                 text.size());
  }
  YamlReader(const YamlReader&) = delete;
  YamlReader& operator=(const YamlReader&) = delete;
  ~YamlReader() { yaml_parser_delete(&parser_); }

  std::optional<MetaValue> read() {
    expect(YAML_STREAM_START_EVENT);
    Event event;
    next(event);
    if (event->type == YAML_STREAM_END_EVENT) return std::nullopt;
    Event first;
    next(first);
    auto value = node(first, 0);
    expect(YAML_DOCUMENT_END_EVENT);
    Event end;
    next(end);
    if (end->type != YAML_STREAM_END_EVENT) refuse(end, "several documents");
    return value;
  }

 private:
  [[noreturn]] void fail(std::size_t line, const std::string& what) const {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("line {}: {}", line + 1, what),
                {.path = file_});
  }
  [[noreturn]] void refuse(Event& event, const std::string& what) const {
    fail(event->start_mark.line, what + ", which plain data in YAML need not have, are refused");
  }

  void next(Event& event) {
    if (yaml_parser_parse(&parser_, &event.get()) != 0) return;
    const char* problem = parser_.problem != nullptr ? parser_.problem : "it ends early";
    fail(parser_.problem_mark.line, fmt::format("this is no YAML: {}", printable(problem)));
  }
  void expect(yaml_event_type_t type) {
    Event event;
    next(event);
    if (event->type != type) fail(event->start_mark.line, "this is no YAML");
  }

  std::optional<MetaValue> node(Event& event, int depth) {
    if (depth > MetaValue::kMaxDepth) {
      fail(event->start_mark.line, fmt::format("it nests deeper than {}", MetaValue::kMaxDepth));
    }
    switch (event->type) {
      case YAML_SCALAR_EVENT:
        return scalar(event);
      case YAML_SEQUENCE_START_EVENT:
        check_tag(event, event->data.sequence_start.tag, "seq");
        return list(depth);
      case YAML_MAPPING_START_EVENT:
        check_tag(event, event->data.mapping_start.tag, "map");
        return map(depth);
      case YAML_ALIAS_EVENT:
        refuse(event, "aliases");
      default:
        fail(event->start_mark.line, "this is no YAML");
    }
  }

  MetaValue list(int depth) {
    MetaValue::List list;
    for (;;) {
      Event event;
      next(event);
      if (event->type == YAML_SEQUENCE_END_EVENT) return list;
      if (auto value = node(event, depth + 1)) list.push_back(*std::move(value));
    }
  }

  MetaValue map(int depth) {
    MetaValue::Map map;
    for (;;) {
      Event event;
      next(event);
      if (event->type == YAML_MAPPING_END_EVENT) return map;
      if (event->type != YAML_SCALAR_EVENT) refuse(event, "keys that are lists, maps or aliases");
      const std::string key(text_of(event));
      if (map.contains(key)) {
        fail(event->start_mark.line, fmt::format("the key {} stands twice", quote(key)));
      }
      Event child;
      next(child);
      if (auto value = node(child, depth + 1)) map.emplace(key, *std::move(value));
    }
  }

  static std::string_view text_of(Event& event) {
    return {reinterpret_cast<const char*>(event->data.scalar.value), event->data.scalar.length};
  }

  void check_tag(Event& event, const yaml_char_t* tag, std::string_view allowed) const {
    if (tag == nullptr) return;
    const std::string_view text(reinterpret_cast<const char*>(tag));
    if (text == std::string(kTagPrefix) + std::string(allowed)) return;
    refuse(event, fmt::format("objects of the kind {}", quote(std::string(text))));
  }

  std::optional<MetaValue> scalar(Event& event) const {
    const std::string_view text = text_of(event);
    if (event->data.scalar.tag != nullptr) {
      check_tag(event, event->data.scalar.tag, "str");
      return MetaValue(text);
    }
    if (event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return MetaValue(text);
    if (is_one_of(text, kNull)) return std::nullopt;
    if (is_one_of(text, kTrue)) return MetaValue(true);
    if (is_one_of(text, kFalse)) return MetaValue(false);
    return number(event, text);
  }

  // By the patterns of PyYAML: a whole number has digits only, any other a point.
  MetaValue number(Event& event, std::string_view text) const {
    const bool is_negative = text.starts_with('-');
    const std::string_view digits = is_negative || text.starts_with('+') ? text.substr(1) : text;
    const double infinity = std::numeric_limits<double>::infinity();
    if (is_one_of(digits, kInfinity)) return is_negative ? -infinity : infinity;
    if (is_one_of(text, kNan)) return std::numeric_limits<double>::quiet_NaN();
    if (digits.empty() ||
        digits.find_first_not_of("0123456789._eE+-xabcdefABCDEF:") != std::string_view::npos) {
      return text;
    }
    const bool is_whole = digits.find_first_not_of("0123456789") == std::string_view::npos;
    if (is_whole && digits.size() > 1 && digits.front() == '0') {
      fail(event->start_mark.line, fmt::format("{} is not in base ten", quote(std::string(text))));
    }
    if (is_whole) {
      const std::string_view signed_digits = is_negative ? text : digits;
      std::int64_t whole = 0;
      const auto [end, problem] =
          std::from_chars(signed_digits.data(), signed_digits.data() + signed_digits.size(), whole);
      if (problem != std::errc()) {
        fail(event->start_mark.line,
             fmt::format("{} does not fit in 64 bits", quote(std::string(text))));
      }
      return whole;
    }
    if (digits.find('.') == std::string_view::npos || digits.front() == '-' ||
        digits.front() == '+') {
      return text;
    }
    double real = 0;
    const auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), real);
    if (problem == std::errc() && end == digits.data() + digits.size()) {
      return is_negative ? -real : real;
    }
    return text;
  }

  const std::filesystem::path& file_;
  yaml_parser_t parser_{};
};

}  // namespace

std::optional<MetaValue> parse_yaml(std::string_view text, const std::filesystem::path& file) {
  return YamlReader(text, file).read();
}

}  // namespace cairn::cli
