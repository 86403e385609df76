// Stands between the store (LMDB included) and the system, and fails chosen calls.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cairn::fault {

enum class Kind {
  kEio,
  kEnospc,
  kEdquot,
  kEintr,
  kShortRead,   // half of what was asked for
  kShortWrite,  // half of what was given
  kEmfile,
  kEnomem,
  kBadAlloc,
  kMalloc,     // what LMDB and other C takes; operator new is left alone
  kLostFlush,  // a flush fails, and what it should have written is never written; see lost_writes.h
};

/// How long it lasts: one call, or every one from then on. EINTR without end would be a machine
/// that does nothing but deliver signals; there it is every second call from then on.
enum class Duration { kOnce, kLasting };

struct Fault {
  Kind kind = Kind::kEio;
  Duration duration = Duration::kOnce;
  std::uint64_t at = 1;  // the at-th call that this kind can hit, from 1 on; 0: none
};

inline constexpr std::array kKinds = {Kind::kEio,    Kind::kEnospc,    Kind::kEdquot,
                                      Kind::kEintr,  Kind::kShortRead, Kind::kShortWrite,
                                      Kind::kEmfile, Kind::kEnomem,    Kind::kBadAlloc,
                                      Kind::kMalloc, Kind::kLostFlush};

std::string_view name_of(Kind kind) noexcept;

/// "EIO, lasting, at call 17"
std::string describe(const Fault& fault);

/// While it lives, calls fail as the fault says. One at a time.
class Injection {
 public:
  explicit Injection(const Fault& fault);
  ~Injection();
  Injection(const Injection&) = delete;
  Injection& operator=(const Injection&) = delete;

  /// Calls so far that the kind can hit.
  std::uint64_t calls() const noexcept;
  /// Calls that were hit.
  std::uint64_t hits() const noexcept;
  /// Whether a flush of the pack was among them.
  bool hit_a_flush_of_the_pack() const noexcept;
};

/// Allocations by operator new that are alive.
std::int64_t live_allocations() noexcept;

}  // namespace cairn::fault
