//! The nine sources of flux-recv, and what each becomes.

/// A source.
#[derive(Debug)]
pub(super) struct Source {
    /// As the configuration spells it.
    pub(super) name: &'static str,
    /// The name of its Receiver.
    pub(super) slug: &'static str,
    /// `spec.type`.
    pub(super) receiver_type: &'static str,
    /// `spec.events`: what flux-recv took.
    pub(super) events: &'static [&'static str],
    /// `spec.resourceFilter`: what flux-recv looked at in the body.
    pub(super) filter: Option<&'static str>,
    /// Whether it tells of Git, and not of an image.
    pub(super) is_git: bool,
    /// What has no equivalent.
    pub(super) notes: &'static [&'static str],
}

const PLAIN: Source = Source {
    name: "",
    slug: "",
    receiver_type: "",
    events: &[],
    filter: None,
    is_git: false,
    notes: &[],
};

/// All of them.
pub(super) static SOURCES: [Source; 9] = [
    Source {
        name: "GitHub",
        slug: "github",
        receiver_type: "github",
        events: &["ping", "push"],
        is_git: true,
        ..PLAIN
    },
    Source {
        name: "GitLab",
        slug: "gitlab",
        receiver_type: "gitlab",
        events: &["Push Hook"],
        is_git: true,
        ..PLAIN
    },
    Source {
        name: "BitbucketCloud",
        slug: "bitbucket-cloud",
        receiver_type: "generic",
        filter: Some("has(req.push)"),
        is_git: true,
        notes: &[
            "hooks were not verified, and are not now; give the key to Bitbucket as the webhook's secret, then make the type bitbucket with the event repo:push and without the filter",
        ],
        ..PLAIN
    },
    Source {
        name: "BitbucketServer",
        slug: "bitbucket-server",
        receiver_type: "bitbucket",
        events: &["repo:refs_changed"],
        is_git: true,
        ..PLAIN
    },
    Source {
        name: "DockerHub",
        slug: "docker-hub",
        receiver_type: "dockerhub",
        ..PLAIN
    },
    Source {
        name: "Quay",
        slug: "quay",
        receiver_type: "quay",
        ..PLAIN
    },
    Source {
        name: "Harbor",
        slug: "harbor",
        receiver_type: "harbor",
        filter: Some("has(req.type) && req.type in ['pushImage', 'PUSH_ARTIFACT']"),
        notes: &["hooks of another type get 200 and trigger nothing, where flux-recv said 400"],
        ..PLAIN
    },
    Source {
        name: "GoogleContainerRegistry",
        slug: "google-container-registry",
        receiver_type: "gcr",
        filter: Some("has(req.action) && req.action.lowerAscii() == 'insert'"),
        notes: &["refused hooks get 400 and Pub/Sub sends them again, where flux-recv said 200"],
        ..PLAIN
    },
    Source {
        name: "Nexus",
        slug: "nexus",
        receiver_type: "nexus",
        filter: Some(
            "has(req.component) && has(req.component.format) && req.component.format == 'docker' && has(req.action) && req.action == 'CREATED'",
        ),
        notes: &[
            "X-Nexus-Webhook-Id is not looked at; hooks about anything but a new docker component get 200 and trigger nothing, where flux-recv said 400",
        ],
        ..PLAIN
    },
];

/// GoogleContainerRegistry without `gcr`: nothing was verified.
pub(super) static UNVERIFIED_GCR: Source = Source {
    name: "GoogleContainerRegistry",
    slug: "google-container-registry",
    receiver_type: "generic",
    notes: &[
        "hooks were not verified, and are not now, and every action triggers, not insert only; let Pub/Sub send a token, then make the type gcr with email and audience in the Secret",
    ],
    ..PLAIN
};
