#include "meter.h"

#include "text.h"

#include <fmt/format.h>

#include <algorithm>

namespace cairn::cli {
namespace {

constexpr std::chrono::milliseconds kFirst{1000};
constexpr std::chrono::milliseconds kBetween{100};

// "4 s", "3:20 min", "2:05 h".
std::string short_time(double seconds) {
  const auto whole = static_cast<std::uint64_t>(std::clamp(seconds, 0.0, 3.6e6));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{}:{:02} min", whole / 60, whole % 60);
  return fmt::format("{}:{:02} h", whole / 3600, whole / 60 % 60);
}

}  // namespace

void Meter::show(const Progress& progress) {
  if (!output_.shows_status()) return;
  const std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  if (total_bytes_ != 0 && progress.total_bytes != total_bytes_) {
    begin_ = last_ = now;
    done_bytes_ = 0;
  }
  total_bytes_ = progress.total_bytes;
  done_bytes_ = std::max(done_bytes_, progress.done_bytes);  // threads may overtake one another
  if (now - begin_ < kFirst || (last_ != begin_ && now - last_ < kBetween)) return;
  last_ = now;

  const double seconds = std::chrono::duration<double>(now - begin_).count();
  const double rate = static_cast<double>(done_bytes_) / seconds;
  std::string text = doing_ + "  " + human_bytes(done_bytes_);
  if (progress.total_bytes > 0) {
    const double total = static_cast<double>(std::max(progress.total_bytes, done_bytes_));
    text += fmt::format(" of {}  {:.0f}%", human_bytes(static_cast<std::uint64_t>(total)),
                        100 * static_cast<double>(done_bytes_) / total);
    text += fmt::format("  {}/s", human_bytes(static_cast<std::uint64_t>(rate)));
    if (rate > 0) {
      text +=
          fmt::format("  {} left", short_time((total - static_cast<double>(done_bytes_)) / rate));
    }
  } else {
    text += fmt::format("  {}/s  {}", human_bytes(static_cast<std::uint64_t>(rate)),
                        short_time(seconds));
  }
  output_.show_status(text);
}

}  // namespace cairn::cli
