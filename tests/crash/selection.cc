#include "crash/selection.h"

#include <algorithm>
#include <cstdlib>

namespace cairn::crash {
namespace {

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

}  // namespace

Effort Effort::from_environment() {
  return {.seed = number_from("CAIRN_PROVE_SEED", 1),
          .seconds = std::chrono::seconds(number_from("CAIRN_PROVE_SECONDS", 0))};
}

std::vector<std::vector<Operation>> engine_sequences() {
  using enum Operation;
  return {{kSaveAsync, kSaveAsync, kSaveAsync},
          {kSaveNew, kSaveAsync, kDelete},
          {kSaveNew, kSaveAsync, kKeepOnly, kSaveAsync, kReuse},
          {kSaveAsync, kReopen},
          {kSaveAsync, kAbort, kSaveAsync, kLoseCatalog},
          {kSaveAsync, kCompact, kSaveAsync, kReplace},
          {kSaveDirect, kDelete, kSaveNew, kSaveDirect},
          {kSaveAsync, kSaveDirect},
          {kHeal, kSaveNew},
          {kSaveNew, kRead, kHeal, kDelete},
          {kCopy, kSaveAsync, kCopy},
          {kSaveNew, kCompress, kSaveNew, kSaveAsync, kReuse},
          {kCompress, kSaveDirect, kKeepOnly, kAbort, kSaveChangingSome},
          {kCompress, kHeal, kLoseCatalog, kCopy},
          {kCompress, kSaveNew, kRead, kKeepOnly, kCompact, kSaveAsync}};
}

std::vector<std::vector<Operation>> all_sequences(std::mt19937_64& random) {
  std::vector<std::vector<Operation>> all;
  for (const Operation first : kOperations) {
    for (const Operation second : kOperations) {
      for (const Operation third : kOperations) all.push_back({first, second, third});
    }
  }
  std::shuffle(all.begin(), all.end(), random);
  return all;
}

}  // namespace cairn::crash
