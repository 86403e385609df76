// The benchmarks: `./dev bench`, or this program with options of its own.
#include "rows.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <exception>
#include <fstream>
#include <iostream>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace {

using cairn::bench::Row;

/// Kind of machine, without its name.
std::string machine(const std::filesystem::path& directory) {
  utsname system{};
  ::uname(&system);
  struct statfs files {};
  ::statfs(directory.c_str(), &files);
  std::string model = "unknown processor";
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.starts_with("model name")) {
      model = line.substr(line.find(':') + 2);
      break;
    }
  }
  return fmt::format("{} x {}, Linux {}, file system type {:#x}", ::sysconf(_SC_NPROCESSORS_ONLN),
                     model, system.release, static_cast<unsigned long>(files.f_type));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Measures Cairn beside the floor of the machine and beside other formats.");
  cairn::bench::Settings settings;
  std::filesystem::path json;
  std::filesystem::path python;
  std::vector<std::string> wanted;
  std::string memory_of;
  std::uint64_t bytes = 0;
  settings.directory = std::filesystem::temp_directory_path();
  settings.rounds = 7;
  app.add_flag("--quick", settings.quick, "everything small and once: only shows that it runs");
  app.add_option("--rows", wanted, "only these rows, such as 1,3")->delimiter(',');
  app.add_option("--dir", settings.directory, "where to make stores and files")
      ->capture_default_str();
  app.add_option("--bytes", bytes, "length of the large states (default: 1 GiB)");
  app.add_option("--rounds", settings.rounds, "times that each contender runs")
      ->capture_default_str();
  app.add_option("--json", json, "a file for the figures, to be read by programs");
  app.add_option("--peers-python", python, "a Python that has torch and safetensors");
  app.add_option("--weights", settings.weights,
                 "weights of a trained model, for row 13: .safetensors, or .pt of torch.save")
      ->check(CLI::ExistingFile)
      ->envname("CAIRN_BENCH_WEIGHTS");
  app.add_option("--memory-of", memory_of)->group("");
  CLI11_PARSE(app, argc, argv);
  settings.bytes = bytes != 0 ? bytes : settings.quick ? 8 << 20 : 1 << 30;
  if (settings.quick) settings.rounds = 1;
  settings.program = std::filesystem::read_symlink("/proc/self/exe");

  try {
    if (!memory_of.empty()) return cairn::bench::memory_of(memory_of, settings);
    const auto directory =
        settings.directory / ("cairn-bench-" + std::to_string(static_cast<long>(::getpid())));
    std::filesystem::create_directories(directory);
    settings.directory = directory;
    cairn::bench::Peers peers;
    if (python.empty()) {
      std::cerr << "bench: no --peers-python: without the peers in Python\n";
    } else {
      peers.start({python, CAIRN_SOURCE_DIR "/bench/peers/peers.py"}, directory, settings.bytes);
    }
    const std::filesystem::path torch_peer = settings.program.parent_path() / "bench_torch_peer";
    if (std::filesystem::exists(torch_peer)) {
      peers.start({torch_peer}, directory, settings.bytes);
    } else {
      std::cerr << "bench: built without LibTorch: without its torch::save\n";
    }
    settings.peers = &peers;
    std::cout << machine(directory) << "\n"
              << fmt::format(
                     "states of {} bytes, {} rounds; medians, and where the middle half "
                     "lies; + reached, - not\n",
                     settings.bytes, settings.rounds);
    std::vector<Row> rows;
    for (const auto& part : {cairn::bench::save_rows(), cairn::bench::load_rows(),
                             cairn::bench::scale_rows(), cairn::bench::space_rows()}) {
      for (const cairn::bench::RowEntry& entry : part) {
        if (!wanted.empty() &&
            std::find(wanted.begin(), wanted.end(), entry.number) == wanted.end()) {
          continue;
        }
        rows.push_back(entry.run(settings));
        print(std::cout, rows.back());
      }
    }
    if (!json.empty()) std::ofstream(json) << to_json(rows, machine(directory)) << "\n";
    peers = {};
    std::filesystem::remove_all(directory);
  } catch (const std::exception& error) {
    std::cerr << "bench: " << error.what() << "\n";
    return 1;
  }
  return 0;
}
