package pod

// Waiting, terminated and event reasons, as Kubernetes' clients know them.
const (
	ReasonContainerCreating     = "ContainerCreating"
	ReasonPodInitializing       = "PodInitializing"
	ReasonCrashLoopBackOff      = "CrashLoopBackOff"
	ReasonErrImagePull          = "ErrImagePull"
	ReasonImagePullBackOff      = "ImagePullBackOff"
	ReasonErrImageNeverPull     = "ErrImageNeverPull"
	ReasonInvalidImageName      = "InvalidImageName"
	ReasonCreateContainerConfig = "CreateContainerConfigError"
	ReasonCreateContainer       = "CreateContainerError"
	ReasonRunContainer          = "RunContainerError"
	ReasonPostStartHook         = "PostStartHookError"
	ReasonCreateSandbox         = "FailedCreatePodSandBox"
	ReasonFailedMount           = "FailedMount"
	ReasonCompleted             = "Completed"
	ReasonError                 = "Error"
	ReasonOOMKilled             = "OOMKilled"
	ReasonStartError            = "StartError"
	ReasonStatusUnknown         = "ContainerStatusUnknown"
	ReasonDeadlineExceeded      = "DeadlineExceeded"
	ReasonEvicted               = "Evicted"
)
