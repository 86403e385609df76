#include "crash/event_log.h"

#include <array>
#include <charconv>
#include <stdexcept>
#include <utility>

namespace cairn::crash {
namespace {

constexpr std::array<std::string_view, 11> kWords = {"mkdir",   "create",    "rename",   "unlink",
                                                     "syncdir", "write",     "truncate", "punch",
                                                     "sync",    "syncrange", "note"};

std::string to_hex(const Bytes& bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(2 * bytes.size());
  for (const std::byte byte : bytes) {
    text += kDigits[static_cast<std::size_t>(byte >> 4)];
    text += kDigits[static_cast<std::size_t>(byte & std::byte{15})];
  }
  return text;
}

/// Takes one line apart.
class Line {
 public:
  Line(std::string_view text, std::size_t number) : rest_(text), number_(number) {}

  std::string_view word() {
    const std::size_t end = rest_.find(' ');
    const std::string_view found = rest_.substr(0, end);
    rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
    if (found.empty()) fail("a word is missing");
    return found;
  }

  template <typename Number>
  Number number() {
    const std::string_view text = word();
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size())
      fail("no number: " + std::string(text));
    return value;
  }

  Bytes hex() {
    const std::string_view text = word();
    if (text.size() % 2 != 0) fail("an odd number of digits");
    Bytes bytes;
    bytes.reserve(text.size() / 2);
    for (std::size_t i = 0; i < text.size(); i += 2) {
      unsigned value = 0;
      const auto [end, error] = std::from_chars(text.data() + i, text.data() + i + 2, value, 16);
      if (error != std::errc() || end != text.data() + i + 2) fail("no hexadecimal digits");
      bytes.push_back(static_cast<std::byte>(value));
    }
    return bytes;
  }

  std::string rest() { return std::string(std::exchange(rest_, {})); }

  void end() {
    if (!rest_.empty()) fail("too many words");
  }

  [[noreturn]] void fail(const std::string& why) const {
    throw std::runtime_error("event log, line " + std::to_string(number_) + ": " + why);
  }

 private:
  std::string_view rest_;
  std::size_t number_;
};

Event parse(Line line) {
  const std::string_view word = line.word();
  std::size_t kind = 0;
  while (kind < kWords.size() && kWords[kind] != word) ++kind;
  if (kind == kWords.size()) line.fail("no such event: " + std::string(word));
  Event event{.kind = static_cast<EventKind>(kind)};
  switch (event.kind) {
    case EventKind::kMakeDirectory:
    case EventKind::kCreate:
      event.directory = line.number<Node>();
      event.name = line.word();
      event.node = line.number<Node>();
      break;
    case EventKind::kRename:
      event.directory = line.number<Node>();
      event.name = line.word();
      event.to_directory = line.number<Node>();
      event.to_name = line.word();
      break;
    case EventKind::kUnlink:
      event.directory = line.number<Node>();
      event.name = line.word();
      break;
    case EventKind::kSyncDirectory:
    case EventKind::kSync:
      event.node = line.number<Node>();
      break;
    case EventKind::kWrite:
      event.node = line.number<Node>();
      event.offset = line.number<std::uint64_t>();
      event.data = line.hex();
      event.bytes = event.data.size();
      break;
    case EventKind::kTruncate:
      event.node = line.number<Node>();
      event.bytes = line.number<std::uint64_t>();
      break;
    case EventKind::kPunch:
    case EventKind::kSyncRange:
      event.node = line.number<Node>();
      event.offset = line.number<std::uint64_t>();
      event.bytes = line.number<std::uint64_t>();
      break;
    case EventKind::kNote:
      event.name = line.rest();
      break;
  }
  line.end();
  return event;
}

}  // namespace

std::string to_text(const Event& event) {
  const auto number = [](std::uint64_t value) { return " " + std::to_string(value); };
  std::string text(kWords[static_cast<std::size_t>(event.kind)]);
  switch (event.kind) {
    case EventKind::kMakeDirectory:
    case EventKind::kCreate:
      return text + number(event.directory) + " " + event.name + number(event.node);
    case EventKind::kRename:
      return text + number(event.directory) + " " + event.name + number(event.to_directory) + " " +
             event.to_name;
    case EventKind::kUnlink:
      return text + number(event.directory) + " " + event.name;
    case EventKind::kSyncDirectory:
    case EventKind::kSync:
      return text + number(event.node);
    case EventKind::kWrite:
      return text + number(event.node) + number(event.offset) + " " + to_hex(event.data);
    case EventKind::kTruncate:
      return text + number(event.node) + number(event.bytes);
    case EventKind::kPunch:
    case EventKind::kSyncRange:
      return text + number(event.node) + number(event.offset) + number(event.bytes);
    case EventKind::kNote:
      return text + " " + event.name;
  }
  return text;
}

std::string to_text(const EventLog& log) {
  std::string text;
  for (const Event& event : log) text += to_text(event) + "\n";
  return text;
}

EventLog from_text(std::string_view text) {
  EventLog log;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (!line.empty() && line.front() != '#') log.push_back(parse(Line(line, number)));
  }
  return log;
}

}  // namespace cairn::crash
