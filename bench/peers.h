// Other checkpoint formats, in a Python process of their own that stays between measurements.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

namespace cairn::bench {

class Peers {
 public:
  /// No peers: `names` is empty.
  Peers() = default;
  /// Starts bench/peers/peers.py. What cannot be imported there is missing from `names`, and said
  /// on standard error.
  Peers(const std::filesystem::path& python, const std::filesystem::path& directory,
        std::uint64_t bytes);
  ~Peers();
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;

  const std::vector<std::string>& names() const noexcept { return names_; }
  double save(const std::string& name) const { return ask("save", name); }
  double load(const std::string& name) const { return ask("load", name); }
  void forget(const std::string& name) const { ask("forget", name); }

 private:
  double ask(const char* verb, const std::string& name) const;
  std::string read_line() const;

  std::FILE* to_ = nullptr;
  std::FILE* from_ = nullptr;
  int process_ = -1;
  std::vector<std::string> names_{};
};

}  // namespace cairn::bench
