#include "session.h"

#include "text.h"

#include <charconv>
#include <cmath>

namespace cairn::cli {

std::chrono::milliseconds busy_timeout(const Invocation& invocation) {
  constexpr double kLongestSeconds = 1e9;
  const auto text = invocation.value("--wait");
  if (!text) return std::chrono::milliseconds(0);
  double seconds = 0;
  const auto [end, problem] = std::from_chars(text->data(), text->data() + text->size(), seconds);
  const bool good = problem == std::errc() && end == text->data() + text->size() && seconds >= 0 &&
                    seconds <= kLongestSeconds;
  if (!good) throw UsageError("--wait must be a number of seconds, not " + quote(*text));
  return std::chrono::milliseconds(static_cast<std::int64_t>(std::ceil(seconds * 1000)));
}

LogCallback note_to(Output& output) {
  return [&output](std::string_view message) { output.note("note: " + std::string(message)); };
}

Store open_for_reading(const Invocation& invocation, Output& output) {
  return open_named_for_reading(invocation.argument("STORE"), invocation, output,
                                invocation.has(kAssumeNoWriter.name));
}

Store open_for_writing(const Invocation& invocation, Output& output, bool create) {
  if (invocation.has(kAssumeNoWriter.name)) {
    throw UsageError("--assume-no-writer is for reading: give --dry-run, too");
  }
  return open_named(invocation.argument("STORE"), invocation, output, create);
}

Store open_named_for_reading(const std::string& directory, const Invocation& invocation,
                             Output& output, bool assume_no_writer) {
  return Store(directory, {.read_only = true,
                           .create = false,
                           .busy_timeout = busy_timeout(invocation),
                           .allow_network_file_system = invocation.has("--allow-network-fs"),
                           .assume_no_writer = assume_no_writer,
                           .log = note_to(output)});
}

Store open_named(const std::string& directory, const Invocation& invocation, Output& output,
                 bool create) {
  StoreOptions options{.create = create,
                       .busy_timeout = busy_timeout(invocation),
                       .allow_network_file_system = invocation.has("--allow-network-fs"),
                       .log = note_to(output)};
  if (invocation.has(kCompress.name)) options.compression = Compression::kZstd;
  return Store(directory, options);
}

}  // namespace cairn::cli
