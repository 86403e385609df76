#include "support/effort.h"

#include <cstdlib>

namespace cairn::testing {
namespace {

using Clock = std::chrono::steady_clock;

const Clock::time_point process_start = Clock::now();

}  // namespace

// The same selection in every run of the test command, so that what fails there is a change's
// doing;
// `./dev prove` draws others.
Effort::Effort() : seed_(1) {
  if (const char* seed = std::getenv("CAIRN_SEED")) seed_ = std::strtoull(seed, nullptr, 10);
  const char* prove = std::getenv("CAIRN_PROVE");
  const unsigned long seconds = prove == nullptr ? 0 : std::strtoul(prove, nullptr, 10);
  is_exhaustive_ = seconds > 0;
  if (seconds > 1) end_ = process_start + std::chrono::seconds(seconds);
}

Effort Effort::one_of(std::size_t parts) const {
  Effort part = *this;
  if (is_limited()) {
    const auto now = Clock::now();
    part.end_ = now + (end_ - now) / static_cast<std::int64_t>(parts);
  }
  return part;
}

bool Effort::time_is_up() const {
  return Clock::now() >= end_;
}

}  // namespace cairn::testing
