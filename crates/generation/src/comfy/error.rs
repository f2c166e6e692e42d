//! Why a ComfyUI server made nothing.

use super::super::address::Address;

/// Every message names the server and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ComfyError {
    #[error(
        "the ComfyUI server {address} does not answer ({reason}); see that it runs, that it listens on the \
         network (--listen), and that [gateway] comfyui in agent.toml is its address"
    )]
    Unreachable { address: Address, reason: String },
    #[error(
        "what answers at {address} is not a ComfyUI server or one too new or too old: {what}; see that \
         [gateway] comfyui in agent.toml is its address"
    )]
    Strange { address: Address, what: String },
    #[error("the ComfyUI server {address} refuses {what} with status {status}: {said}")]
    Refused { address: Address, what: &'static str, status: u16, said: String },
    #[error(
        "the ComfyUI server {address} cannot execute the workflow: {said}. Install what is missing there, or \
         correct the workflow"
    )]
    Graph { address: Address, said: String },
    #[error(
        "the ComfyUI server {address} failed in the node {node}: {said}. Its own log says more; if its memory \
         is short, ask for a smaller size or a smaller workflow"
    )]
    Failed { address: Address, node: String, said: String },
    #[error("somebody interrupted the work on the ComfyUI server {address}; ask again")]
    Interrupted { address: Address },
    #[error(
        "the ComfyUI server {address} no longer knows of the work: it was restarted, or its queue was \
         cleared. Ask again"
    )]
    Lost { address: Address },
    #[error(
        "the ComfyUI server {address} went away in the middle of the work ({reason}); see that it runs and \
         ask again"
    )]
    Gone { address: Address, reason: String },
    #[error(
        "{what} from the ComfyUI server {address} has more than the {limit} bytes that are accepted; ask for \
         a smaller size or fewer frames"
    )]
    TooLarge { address: Address, what: &'static str, limit: usize },
    #[error(
        "the ComfyUI server {address} took longer than {seconds} s and was told to stop; ask for less, or \
         raise [gateway] comfyui_limit_s in agent.toml"
    )]
    Late { address: Address, seconds: u64 },
    #[error("cancelled")]
    Cancelled,
}
