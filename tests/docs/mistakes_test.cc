// Makes every mistake of the guide's table, and compares what is said with the table. Placeholders
// there: "pid 4711 on node7" for any process, N for numbers that depend on sizes.
#include "docs/setups.h"

#include <cairn/error.h>
#include <cairn/torch/parameters.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <fcntl.h>
#include <fstream>
#include <functional>
#include <linux/magic.h>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace {

// What statfs reports instead of the truth, unless 0.
long file_system_type = 0;
long file_system_flags = 0;
// Whether there is no space to reserve.
bool disk_is_full = false;

}  // namespace

// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {
int __real_statfs(const char* path, struct statfs* out);
int __wrap_statfs(const char* path, struct statfs* out) {
  const int result = __real_statfs(path, out);
  if (file_system_type != 0) out->f_type = file_system_type;
  out->f_flags |= file_system_flags;
  return result;
}

int __real_fallocate(int file, int mode, off_t offset, off_t bytes);
int __wrap_fallocate(int file, int mode, off_t offset, off_t bytes) {
  if (!disk_is_full) return __real_fallocate(file, mode, offset, bytes);
  errno = ENOSPC;
  return -1;
}
}
// NOLINTEND(bugprone-reserved-identifier)

// Types of a user's, in no namespace, as messages show them.
struct Curriculum {};

struct Warmup : torch::optim::LRScheduler {
  using torch::optim::LRScheduler::LRScheduler;
  std::vector<double> get_lrs() override { return get_current_lrs(); }
};

struct Mine {
  at::Tensor table;
  void save_state(cairn::StateWriter& writer) const { writer.tensor("table", table); }
  cairn::ApplyStep load_state(cairn::StateReader&) { return {}; }
};

namespace cairn::docs {
namespace {

namespace fs = std::filesystem;

struct Row {
  std::string title;
  std::string code;
  std::string message;
};

std::string trimmed(const std::string& text) {
  const auto begin = text.find_first_not_of(" \n");
  return begin == std::string::npos ? ""
                                    : text.substr(begin, text.find_last_not_of(" \n") + 1 - begin);
}

std::vector<std::string> split(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  for (std::size_t end; (end = text.find(separator, begin)) != std::string::npos;
       begin = end + separator.size()) {
    parts.push_back(text.substr(begin, end - begin));
  }
  parts.push_back(text.substr(begin));
  return parts;
}

std::string without_backticks(std::string text) {
  text = trimmed(text);
  std::size_t ticks = 0;
  while (ticks < text.size() && text[ticks] == '`') ++ticks;
  return ticks == 0 ? text : trimmed(text.substr(ticks, text.size() - 2 * ticks));
}

std::string guide() {
  std::ifstream in(CAIRN_SOURCE_DIR "/docs/guide.md");
  return {std::istreambuf_iterator<char>(in), {}};
}

// The rows of the table that begins with this line.
std::vector<Row> table(const std::string& head) {
  std::istringstream lines(guide());
  std::vector<Row> rows;
  std::string line;
  while (std::getline(lines, line) && line != head) continue;
  std::getline(lines, line);  // the rule
  while (std::getline(lines, line) && line.starts_with("|")) {
    const auto cells = split(line, " | ");
    std::string message;
    for (const auto& part : split(cells.at(2), "<br>")) message += without_backticks(part) + "\n";
    rows.push_back({.title = trimmed(cells.at(0).substr(1)),
                    .code = without_backticks(cells.at(1)),
                    .message = trimmed(message)});
  }
  return rows;
}

std::vector<Row> mistakes_of_the_guide() {
  return table("| You | Code | Cairn says | What to do |");
}

std::string comparable(const std::string& text) {
  std::string out;
  for (const auto& line : split(text, "\n")) out += trimmed(line) + "\n";
  out = std::regex_replace(out, std::regex("pid [0-9]+ on [^ ;]+"), "pid 4711 on node7");
  out = std::regex_replace(out, std::regex("[0-9]+ more bytes"), "N more bytes");
  out = std::regex_replace(out, std::regex("(byte|has|says) [0-9]{3,}"), "$1 N");
  out = std::regex_replace(out, std::regex("[0-9a-f]{32}"), "622a...36ca");
  return trimmed(out);
}

// ---- the mistakes
// --------------------------------------------------------------------------------

// The parts of a job that has run: five checkpoints in runs/a.
struct Parts {
  torch::nn::Linear& model;
  torch::optim::Adam& optimizer;
};

// What was said without an error, and under which word the table has it.
struct Said {
  std::string code;
  std::string message;
};

Checkpointer opened(Parts& job) {
  Checkpointer checkpointer("runs/a");
  checkpointer.add_recoverable("model", job.model).add_recoverable("optimizer", job.optimizer);
  return checkpointer;
}

Checkpointer finder() {
  return Checkpointer("runs/a", {.read_only = true});
}

void recover_with(const char* name, Recoverable object) {
  Checkpointer checkpointer("runs/a");
  checkpointer.add_recoverable(name, std::move(object));
  checkpointer.recover_if_possible();
}

void damage(const CheckpointInfo& checkpoint) {
  const auto opened = finder().open(checkpoint);
  const auto at = opened.chunks(*opened.find_tensor("model", "weight")).front().pack_offset;
  std::fstream pack("runs/a/pack", std::ios::in | std::ios::out | std::ios::binary);
  pack.seekp(static_cast<std::streamoff>(at));
  pack.write("\xff\xff\xff\xff", 4);
}

// Runs `body` in a child process; the message of the error that it throws there.
Said in_a_child(const std::function<void()>& body) {
  int ends[2];
  if (::pipe(ends) != 0) throw std::runtime_error("cannot make a pipe");
  const pid_t child = ::fork();
  if (child == 0) {
    std::string said = "none\n";
    try {
      body();
    } catch (const Error& error) {
      said = std::string(to_string(error.code())) + "\n" + error.what();
    }
    const auto written = ::write(ends[1], said.data(), said.size());
    ::_exit(written == std::ssize(said) ? 0 : 1);
  }
  ::close(ends[1]);
  std::string said;
  char buffer[4096];
  for (ssize_t got; (got = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
    said.append(buffer, static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  const auto end = said.find('\n');
  return {.code = said.substr(0, end), .message = said.substr(end + 1)};
}

using Make = std::function<Said(Parts&)>;

// For a mistake that throws.
template <class Body>
Make throwing(Body body) {
  return [body](Parts& job) -> Said {
    try {
      body(job);
    } catch (const Error& error) {
      return {.code = std::string(to_string(error.code())), .message = error.what()};
    }
    return {.code = "nothing was thrown", .message = {}};
  };
}

const std::map<std::string, Make>& mistakes() {
  static const std::map<std::string, Make> all = {
      {"register a type that Cairn does not know", throwing([](Parts&) {
         Curriculum curriculum;
         Checkpointer("runs/a").add_recoverable("curriculum", curriculum);
       })},
      {"register a scheduler that Cairn does not know", throwing([](Parts& job) {
         Warmup schedule(job.optimizer);
         Checkpointer("runs/a").add_recoverable("schedule", schedule);
       })},
      {"register a name twice", throwing([](Parts& job) {
         Checkpointer("runs/a")
             .add_recoverable("model", job.model)
             .add_recoverable("model", job.model);
       })},
      {"register under an empty name",
       throwing([](Parts& job) { Checkpointer("runs/a").add_recoverable("", job.model); })},
      {"register a module holder that is empty", throwing([](Parts&) {
         torch::nn::Linear head = nullptr;
         Checkpointer("runs/a").add_recoverable("head", head);
       })},
      {"give one hook without the other", throwing([](Parts&) {
         Curriculum curriculum;
         Checkpointer("runs/a").add_recoverable("curriculum", curriculum,
                                                {.custom_save_hook = [](StateWriter&) {}});
       })},
      {"save with nothing registered",
       throwing([](Parts&) { Checkpointer("runs/a").save_checkpoint(); })},
      {"save a tensor that is undefined", throwing([](Parts&) {
         Mine mine;
         Checkpointer checkpointer("runs/a");
         checkpointer.add_recoverable("mine", mine).save_checkpoint();
       })},
      {"save under a name that exists",
       throwing([](Parts& job) { opened(job).save_checkpoint({.name = "epoch-5"}); })},
      {"save under a name that means something else",
       throwing([](Parts& job) { opened(job).save_checkpoint({.name = "latest"}); })},
      {"ask to keep a negative number",
       throwing([](Parts& job) { opened(job).save_and_keep_only({}, {.num_to_keep = -1}); })},
      {"mistype a metadata key",
       throwing([](Parts&) { finder().find_checkpoint({.min_key = "los"}); })},
      {"rank by metadata that is text",
       throwing([](Parts&) { finder().find_checkpoint({.min_key = "validation"}); })},
      {"rank by two things at once",
       throwing([](Parts&) { finder().find_checkpoint({.max_key = "loss", .min_key = "loss"}); })},
      {"mistype a name in `.only`", throwing([](Parts& job) {
         auto checkpointer = opened(job);
         checkpointer.load_checkpoint(*checkpointer.find_checkpoint(), {.only = {"modle"}});
       })},
      {"mistype the name of a saved part", throwing([](Parts& job) {
         const auto from = finder();
         parameter_transfer(*job.model, from.open(*from.find_checkpoint()), "modle");
       })},
      {"resume with a model that has other layers", throwing([](Parts&) {
         torch::nn::Sequential model(torch::nn::Linear(2, 1));
         recover_with("model", model);
       })},
      {"resume with a layer of another width", throwing([](Parts&) {
         torch::nn::Linear model(3, 1);
         recover_with("model", model);
       })},
      {"resume with a model of another dtype", throwing([](Parts& job) {
         job.model->to(torch::kHalf);
         recover_with("model", job.model);
       })},
      {"resume with an object that was not registered then", throwing([](Parts&) {
         std::int64_t step = 0;
         recover_with("step", step);
       })},
      {"resume with another kind of object under the name", throwing([](Parts&) {
         torch::Tensor tensor = torch::zeros(2);
         recover_with("optimizer", tensor);
       })},
      {"resume with an optimizer over another model", throwing([](Parts&) {
         torch::nn::Linear other(4, 4);
         torch::optim::Adam optimizer(other->parameters());
         recover_with("optimizer", optimizer);
       })},
      {"resume with another kind of optimizer", throwing([](Parts& job) {
         torch::optim::SGD optimizer(job.model->parameters(), 0.1);
         recover_with("optimizer", optimizer);
       })},
      {"resume with another number of parameter groups", throwing([](Parts& job) {
         torch::optim::Adam optimizer(std::vector<torch::optim::OptimizerParamGroup>{
             torch::optim::OptimizerParamGroup({job.model->weight}),
             torch::optim::OptimizerParamGroup({job.model->bias})});
         recover_with("optimizer", optimizer);
       })},
      {"resume a sampler with another data set", throwing([](Parts&) {
         torch::data::samplers::RandomSampler before(100), now(90);
         {
           Checkpointer checkpointer("runs/b");
           checkpointer.add_recoverable("sampler", before).save_checkpoint();
         }
         Checkpointer checkpointer("runs/b");
         checkpointer.add_recoverable("sampler", now).recover_if_possible();
       })},
      {"start a job twice", throwing([](Parts& job) {
         const auto first = opened(job);
         const auto second = opened(job);
       })},
      {"change a store through a finder", throwing([](Parts&) {
         auto from = finder();
         from.pin(*from.find_checkpoint());
       })},
      {"look for a run where there is none",
       throwing([](Parts&) { Checkpointer("runs/aa", {.read_only = true}); })},
      {"give a file as the store's path", throwing([](Parts&) {
         std::ofstream("runs/model.pt") << "weights";
         Checkpointer("runs/model.pt");
       })},
      {"give a directory with other things in it", throwing([](Parts&) {
         fs::create_directory("results");
         std::ofstream("results/plot.png") << "image";
         Checkpointer("results");
       })},
      {"put a store on NFS", throwing([](Parts&) {
         file_system_type = NFS_SUPER_MAGIC;
         Checkpointer("runs/b");
       })},
      {"put a store on tmpfs",
       [](Parts&) -> Said {
         file_system_type = TMPFS_MAGIC;
         Said said;
         Checkpointer("runs/b", {.log = [&](std::string_view message) {
                        said = {.code = "a warning", .message = std::string(message)};
                      }});
         return said;
       }},
      {"write to a read-only disk", throwing([](Parts& job) {
         file_system_flags = ST_RDONLY;
         opened(job);
       })},
      {"fill the disk", throwing([](Parts& job) {
         auto checkpointer = opened(job);
         disk_is_full = true;
         checkpointer.save_checkpoint();
       })},
      {"use a handle after `fork`",
       [](Parts& job) {
         auto checkpointer = opened(job);
         return in_a_child([&] { checkpointer.save_checkpoint(); });
       }},
      {"load a checkpoint whose bytes have rotted", throwing([](Parts& job) {
         damage(*finder().find_checkpoint());
         auto checkpointer = opened(job);
         checkpointer.load_checkpoint(*checkpointer.find_checkpoint());
       })},
      {"lose the end of the pack", throwing([](Parts& job) {
         fs::resize_file("runs/a/pack", fs::file_size("runs/a/pack") / 2);
         opened(job);
       })},
      {"keep by a rule that does not protect the newest",
       [](Parts& job) -> Said {
         const auto done = opened(job).save_and_keep_only(
             {.meta = {{"loss", 0.8}}}, {.keep_recent = false, .min_keys = {"loss"}});
         return {.code = "no error",
                 .message = "`deleted` has " + done.deleted.front().checkpoint.name + ": " +
                            done.deleted.front().rule};
       }},
  };
  return all;
}

class Mistakes : public fixtures::Finished, public ::testing::WithParamInterface<std::string> {
 protected:
  ~Mistakes() override {
    file_system_type = file_system_flags = 0;
    disk_is_full = false;
  }
};

TEST_P(Mistakes, IsAnsweredAsTheGuideSays) {
  const auto rows = mistakes_of_the_guide();
  const auto row = std::find_if(rows.begin(), rows.end(),
                                [](const Row& one) { return one.title == GetParam(); });
  ASSERT_NE(row, rows.end()) << "docs/guide.md has no row \"" << GetParam() << "\"";
  Parts job{model, optimizer};
  const Said said = mistakes().at(GetParam())(job);
  EXPECT_EQ(said.code, row->code);
  EXPECT_EQ(comparable(said.message), row->message);
}

std::vector<std::string> titles() {
  std::vector<std::string> all;
  for (const auto& [title, make] : mistakes()) all.push_back(title);
  return all;
}

INSTANTIATE_TEST_SUITE_P(Guide, Mistakes, ::testing::ValuesIn(titles()), [](const auto& one) {
  std::string name = one.param;
  std::erase_if(name, [](char c) { return c == '`' || c == '.'; });
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
});

// ---- what a compiler or CMake says
// ---------------------------------------------------------------

struct Outcome {
  int status = 0;
  std::string output;
};

Outcome outcome_of(const std::string& command) {
  std::FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  Outcome result;
  char buffer[4096];
  while (const std::size_t got = std::fread(buffer, 1, sizeof buffer, pipe)) {
    result.output.append(buffer, got);
  }
  result.status = ::pclose(pipe);
  return result;
}

std::vector<std::string> messages_with(const std::string& code) {
  std::vector<std::string> messages;
  for (const Row& row : mistakes_of_the_guide()) {
    if (row.code == code) messages.push_back(row.message);
  }
  return messages;
}

class GuideTable : public fixtures::Page {};

TEST_F(GuideTable, HasNoMistakeThatNoTestMakes) {
  std::size_t elsewhere = 0;
  for (const Row& row : mistakes_of_the_guide()) {
    if (row.code == "does not compile" || row.code == "CMake") {
      ++elsewhere;
    } else {
      EXPECT_TRUE(mistakes().contains(row.title)) << row.title;
    }
  }
  EXPECT_EQ(elsewhere, 4U);
}

TEST_F(GuideTable, KnowsWhatTheCompilerSays) {
  const Outcome compiler = outcome_of(
      CAIRN_CXX_COMPILER " -std=c++20 -fsyntax-only -I '" CAIRN_SOURCE_DIR
                         "/include' '" CAIRN_SOURCE_DIR "/tests/docs/snippets/wrong_use.cc'");
  EXPECT_NE(compiler.status, 0);
  std::vector<std::string> said;
  const std::regex assertion("error: static assertion failed(?: due to requirement '.*')?: (.*)");
  for (const auto& line : split(compiler.output, "\n")) {
    std::smatch match;
    if (std::regex_search(line, match, assertion)) {
      said.push_back(match[1]);
    } else {
      EXPECT_EQ(line.find("error:"), std::string::npos) << line;
    }
  }
  EXPECT_EQ(said, messages_with("does not compile")) << compiler.output;
}

TEST_F(GuideTable, KnowsWhatCMakeSaysOfALibTorchForAnotherAbi) {
  // Stands in for a LibTorch that was built for the old ABI.
  fs::create_directory("old");
  std::ofstream("old/TorchConfig.cmake") << R"(
add_library(torch STATIC IMPORTED)
set(TORCH_INSTALL_PREFIX /opt/libtorch)
set(TORCH_CXX_FLAGS "-D_GLIBCXX_USE_CXX11_ABI=0")
set(Torch_FOUND TRUE)
)";
  const Outcome cmake = outcome_of(
      CAIRN_CMAKE_COMMAND " -G '" CAIRN_CMAKE_GENERATOR "' -S '" CAIRN_SOURCE_DIR
                          "' -B build -DCAIRN_WITH_TORCH=ON -DCAIRN_BUILD_TESTS=OFF "
                          "-DCMAKE_CXX_COMPILER=" CAIRN_CXX_COMPILER " -DTorch_DIR=\"$PWD/old\"");
  EXPECT_NE(cmake.status, 0);
  const auto messages = messages_with("CMake");
  ASSERT_EQ(messages.size(), 1U);
  const std::string output = std::regex_replace(cmake.output, std::regex("\\s+"), " ");
  EXPECT_NE(output.find(messages[0]), std::string::npos) << cmake.output;
}

TEST_F(GuideTable, ExplainsEveryErrorCode) {
  std::vector<std::string> explained;
  for (const Row& row : table("| Code | What happened | State of things | What to do |")) {
    explained.push_back(without_backticks(row.title));
  }
  std::vector<std::string> codes;
  for (int i = 0; to_string(static_cast<ErrorCode>(i)) != "unknown"; ++i) {
    codes.emplace_back(to_string(static_cast<ErrorCode>(i)));
  }
  EXPECT_EQ(explained, codes);
}

}  // namespace
}  // namespace cairn::docs
