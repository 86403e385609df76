// Using the parameters of a checkpoint without the job that saved them.
#include "support.h"

namespace cairn::testing {
namespace {

class Parameters : public ::testing::Test {
 protected:
  void save(torch::nn::Sequential& net) {
    Checkpointer(dir_ / "store").add_recoverable("model", net).save_checkpoint();
  }
  Checkpointer finder() { return Checkpointer(dir_ / "store", {.read_only = true}); }

  ScratchDirectory dir_;
};

TEST_F(Parameters, TransferWhatFitsAndReportTheRest) {
  auto saved = make_net(1);
  save(saved);
  torch::nn::Sequential other(torch::nn::Linear(4, 8), torch::nn::BatchNorm1d(8), torch::nn::Tanh(),
                              torch::nn::Linear(8, 2), torch::nn::Linear(2, 1));
  const auto checkpointer = finder();
  const TransferReport report =
      parameter_transfer(*other, checkpointer.open(*checkpointer.find_checkpoint()), "model");
  EXPECT_EQ(report.loaded,
            (std::vector<std::string>{"0.bias", "0.weight", "1.bias", "1.num_batches_tracked",
                                      "1.running_mean", "1.running_var", "1.weight"}));
  EXPECT_EQ(report.missing, (std::vector<std::string>{"4.bias", "4.weight"}));
  EXPECT_EQ(report.unexpected, std::vector<std::string>{});
  EXPECT_EQ(report.mismatched,
            (std::vector<std::string>{"3.bias: saved as f32 [1], here f32 [2]",
                                      "3.weight: saved as f32 [1, 8], here f32 [2, 8]"}));
  EXPECT_TRUE(same_bits(other->parameters()[0], saved->parameters()[0]));
}

TEST_F(Parameters, TransferFromARecoverableThatExists) {
  auto net = make_net();
  save(net);
  const auto checkpointer = finder();
  const Error error = error_of(
      [&] { parameter_transfer(*net, checkpointer.open(*checkpointer.find_checkpoint()), "mdl"); });
  EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  EXPECT_TRUE(mentions(error.what(), {"\"mdl\"", "\"model\""}));
}

TEST_F(Parameters, AreLoadedWholeOrNotAtAll) {
  auto saved = make_net(1), other = make_net(2);
  save(saved);
  const auto checkpointer = finder();
  ParameterMap parameters =
      read_parameters(checkpointer.open(*checkpointer.find_checkpoint()), "model");
  load_parameters(*other, parameters);
  EXPECT_TRUE(same_bits(bits_of(*other), bits_of(*saved)));

  const auto before = bits_of(*other);
  parameters.erase("0.bias");
  parameters["more"] = torch::zeros({1});
  parameters["3.bias"] = torch::zeros({2});
  parameters["0.weight"].zero_();
  const Error error = error_of([&] { load_parameters(*other, parameters); });
  EXPECT_EQ(error.code(), ErrorCode::kMismatch);
  EXPECT_TRUE(mentions(error.what(), {"\"0.bias\" is missing", "\"more\" is not in the module",
                                      "\"3.bias\" is f32 [2], the module has f32 [1]"}));
  EXPECT_TRUE(same_bits(bits_of(*other), before));
}

TEST_F(Parameters, AreAveragedInDoublePrecision) {
  std::vector<torch::nn::Sequential> nets{make_net(1), make_net(2), make_net(3)};
  for (auto& net : nets) save(net);
  nets[2]->buffers()[2].fill_(5);  // num_batches_tracked, saved as 0
  const auto checkpointer = finder();
  const ParameterMap mean = average_checkpoints(
      checkpointer, checkpointer.find_checkpoints({.max_num_checkpoints = 2}), "model");
  const at::Tensor expected =
      ((nets[2]->parameters()[0].to(torch::kDouble) + nets[1]->parameters()[0].to(torch::kDouble)) /
       2)
          .to(torch::kFloat);
  EXPECT_TRUE(same_bits(mean.at("0.weight"), expected));
  EXPECT_EQ(mean.at("1.num_batches_tracked").item<std::int64_t>(), 0);
  load_parameters(*nets[0], mean);
}

TEST_F(Parameters, ThatDifferAreNotAveraged) {
  auto net = make_net();
  save(net);
  torch::nn::Sequential other(torch::nn::Linear(4, 9));
  save(other);
  const auto checkpointer = finder();
  const Error error = error_of(
      [&] { average_checkpoints(checkpointer, checkpointer.list_checkpoints(), "model"); });
  EXPECT_EQ(error.code(), ErrorCode::kMismatch);
  EXPECT_TRUE(mentions(error.what(), {"\"0.weight\" is f32 [8, 4]", "\"3.bias\" is only"}));
  EXPECT_EQ(error_of([&] { average_checkpoints(checkpointer, {}, "model"); }).code(),
            ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace cairn::testing
