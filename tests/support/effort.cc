#include "support/effort.h"

#include <cstdlib>

namespace cairn::testing {

// The same selection in every run of the test command, so that what fails there is a change's
// doing;
// `./dev prove` draws others.
Effort::Effort() : seed_(1) {
  if (const char* seed = std::getenv("CAIRN_SEED")) seed_ = std::strtoull(seed, nullptr, 10);
  const char* prove = std::getenv("CAIRN_PROVE");
  const unsigned long seconds = prove == nullptr ? 0 : std::strtoul(prove, nullptr, 10);
  is_exhaustive_ = seconds > 0;
  if (seconds > 1) end_ = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
}

bool Effort::time_is_up() const {
  return std::chrono::steady_clock::now() >= end_;
}

}  // namespace cairn::testing
